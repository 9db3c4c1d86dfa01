"""Print the linear program of a logistic regression before and after the passes.

python docs/scripts/print_programs.py
"""

import autograd.numpy as anp
import numpy as np

from hessop.differentiate.points import differentiate_at
from hessop.params import read_tree
from hessop.tape.lowering import lower
from hessop.tape.passes import PASSES
from hessop.tape.recorder import record

rng = np.random.default_rng(0)
X = rng.standard_normal((2000, 500))
y = rng.integers(0, 2, 2000)


def loss(w):
    z = anp.dot(X, w)
    return anp.mean(anp.logaddexp(0.0, z) - y * z) + 0.0005 * anp.sum(w**2)


layout, w = read_tree(rng.standard_normal(500))
closure = differentiate_at(loss, layout, w).linear_map()
v = rng.uniform(0.5, 1.5, 500)
program = lower(record(closure.on_leaves, closure.source, closure.target, v))
print(program)
for one_pass in PASSES:
    program = one_pass(program)
    print(f"{one_pass.__name__:20}{len(program.instructions):3} instructions")
print(program)
