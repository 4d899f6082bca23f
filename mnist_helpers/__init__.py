"""The library that the lessons of the MNIST course import.

- `canvas`: a canvas to draw a digit on
- `data`: datasets by name, with checksums; training and test images have separate functions
- `metrics`: numbers from labels and probabilities
- `parameters`: the range of each notebook parameter
- `plots`: arrays in, a figure with a description out
- `quiz`: predictions and quizzes
- `results`: records, models and arrays of a run
- `tuning`: workarounds for Keras Tuner's pitfalls

Importing the package imports none of them; the package `mnist_course`, which runs the lessons, is never imported.
"""
