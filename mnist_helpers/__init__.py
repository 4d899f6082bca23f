"""The helpers of the MNIST course: what the lessons import, and the kit that runs them.

Ground floor, imported by lessons (no module here imports another):

- `data`: datasets by name, verified, behind two doors (`load_training`, `load_test`)
- `metrics`: numbers from labels and probabilities
- `parameters`: what each notebook parameter may be
- `plots`: arrays in, a described figure out
- `results`: the one place that writes and reads run files
- `tuning`: guards round Keras Tuner

Upper floor, `kit/`, never imported by a lesson: `course` runs the lessons, `study` many runs of them, `bench`
times them; `report`, `study_report` and `bench_report` turn their records into pages; `doctor` examines the
machine, `cli` is the command `mnist-course`.

Importing the package does nothing.
"""
