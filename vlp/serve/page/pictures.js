// Pictures that the user brings: dropped, pasted or chosen; made smaller before they are sent.

import { Failure } from "./server.js";

export const LARGEST = 1024; // pixels of the longer side that are sent; models look at far fewer
const QUALITY = 0.92;

const kept = new Map(); // key -> {base64, uri, name}, while the page lives

/** A kept picture, or undefined. */
export function picture(key) {
  return kept.get(key);
}

/**
 * Keep a file for searching.
 * @param {File} file
 * @param {number} mostBytes of a request, in which files are a third larger: base64
 * @returns {Promise<string>} its key
 */
export async function keep(file, mostBytes) {
  if (!file.size) throw new Failure(`“${file.name}” is empty.`);
  if (file.type && !file.type.startsWith("image/")) {
    throw new Failure(`“${file.name}” is no picture. Drop a JPEG, PNG or WebP.`);
  }
  const blob = await smaller(file);
  const base64 = await encoded(blob);
  if (mostBytes && base64.length > mostBytes) {
    throw new Failure(
      `“${file.name}” is larger than this server accepts (${size(mostBytes * 0.75)}). ` +
        "Save it smaller, or as a JPEG.",
    );
  }
  const key = crypto.getRandomValues(new Uint32Array(2)).join("-");
  kept.set(key, { base64, uri: URL.createObjectURL(blob), name: file.name });
  return key;
}

/** As it is if small, or if this browser cannot read it: then the server shall judge. */
async function smaller(file) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(file, { imageOrientation: "from-image" });
  } catch {
    return file;
  }
  const scale = LARGEST / Math.max(bitmap.width, bitmap.height);
  if (scale >= 1) {
    bitmap.close();
    return file;
  }
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(bitmap.width * scale));
  canvas.height = Math.max(1, Math.round(bitmap.height * scale));
  const context = canvas.getContext("2d");
  context.fillStyle = "white"; // as the server does with transparency
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  bitmap.close();
  return new Promise((resolve) => {
    canvas.toBlob((blob) => resolve(blob ?? file), "image/jpeg", QUALITY);
  });
}

function encoded(blob) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result.slice(reader.result.indexOf(",") + 1));
    reader.onerror = () => reject(new Failure("The picture could not be read from the disk."));
    reader.readAsDataURL(blob);
  });
}

/** "7.5 MB". */
function size(bytes) {
  return bytes < 1e6 ? `${Math.round(bytes / 1e3)} kB` : `${Math.round(bytes / 1e5) / 10} MB`;
}
