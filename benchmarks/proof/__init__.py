"""The same model, data and budget, with and without each objective: does it do what it claims?"""
