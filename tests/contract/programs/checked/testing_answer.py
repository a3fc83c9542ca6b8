"""An answer that a fake service cannot give."""

from pylae.testing import FakeService

FakeService(404)  # Argument 1 to "FakeService" has incompatible type "int"
# "Literal[404]" cannot be assigned to parameter "answer"
