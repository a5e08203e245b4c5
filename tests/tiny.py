"""Recipes of a few rows, one for each head: what they train is small, quick, and good for nothing."""

CLASSES = """
defaults:
  - config
  - override head: classification
  - override target: label
  - override source/tokenizer: word
  - override attention: additive
  - override reader: given
  - _self_
reader:
  train: ["good film\\tpos", "bad film\\tneg", "very good\\tpos", "very bad\\tneg", "dull\\tneg", "fun\\tpos"]
  validation: ["good\\tpos", "bad\\tneg"]
  test: ["good\\tpos", "bad\\tneg"]
source: {embedding_size: 8}
encoder: {size: 8}
head: {pool: [attend]}
optimizer: {learning_rate: 0.03}
trainer: {epochs: 12}
"""
NUMBERS = """
defaults:
  - config
  - override head: regression
  - override source: numbers
  - override target: number
  - override reader: given
  - _self_
reader:
  train: ["1 2 3\\t4", "2 3 4\\t5", "3 4 5\\t6", "4 5 6\\t7"]
  validation: ["5 6 7\\t8", "0 1 2\\t3"]
  test: ["5 6 7\\t8", "0 1 2\\t3"]
encoder: {size: 8}
trainer: {epochs: 2}
"""
TAGS = """
defaults:
  - config
  - override head: tagging
  - override target: tags
  - override source/tokenizer: word
  - override reader: given
  - _self_
reader:
  train: ["to new york\\tO B-city I-city", "to paris\\tO B-city"]
  validation: ["to rome\\tO B-place"]
  test: ["to rome\\tO B-place"]
source: {embedding_size: 8}
encoder: {size: 8}
trainer: {epochs: 2}
"""
TEXTS = """
defaults:
  - config
  - override head: language_model
  - override source: none
  - override target/tokenizer: char
  - override reader: given
  - override encoder: none
  - override attention: none
  - _self_
reader:
  train: ["ab ba", "abba", "ba ab", "baab"]
  validation: ["ab", "baba"]
  test: ["ab", "baba"]
target: {embedding_size: 8}
decoder: {size: 8, bridge: zeros}
trainer: {epochs: 2}
"""
NAMES = """
defaults:
  - config
  - override head: generation
  - override source: label
  - override target/tokenizer: char
  - override reader: given
  - override encoder: none
  - override attention: none
  - _self_
reader:
  train: ["Irish\\tabc", "Italian\\tcba", "Irish\\tab", "Italian\\tcb"]
  validation: ["Irish\\tabc", "Italian\\tcba"]
  test: ["Irish\\tabc", "Italian\\tcba"]
source: {embedding_size: 8}
target: {embedding_size: 8}
decoder: {size: 8}
trainer: {epochs: 2}
"""
RECIPES = {"classes": CLASSES, "numbers": NUMBERS, "tags": TAGS, "texts": TEXTS, "names": NAMES}
