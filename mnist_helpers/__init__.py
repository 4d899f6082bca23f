"""The helpers of the MNIST course: what the lessons import, and the kit that runs them.

Ground floor, imported by lessons (no module here imports another):

- `canvas`: a canvas to draw a digit on
- `data`: datasets by name, verified, behind two doors (`load_training`, `load_test`)
- `metrics`: numbers from labels and probabilities
- `parameters`: what each notebook parameter may be
- `plots`: arrays in, a described figure out
- `quiz`: predictions that are compared, questions that are explained
- `results`: the one place that writes and reads run files
- `tuning`: guards round Keras Tuner

Upper floor, `kit/`, never imported by a lesson: `course` runs the lessons, `study` many runs of them, `bench`
times them; `report`, `study_report` and `bench_report` turn their records into pages; `timings` says how long the
lessons took; `start` and `bundle` hand the course out, `assignments` builds exercises and grades hand-ins; `quota`
counts the cores that a container may use, `doctor` examines the machine, `cli` is the command `mnist-course`.

Importing the package does nothing.
"""
