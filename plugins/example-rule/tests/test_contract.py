"""What every rule must do, whatever it is about: Proctor's contract suite."""

from proctor.testing.suite import ContractSuite


class TestContract(ContractSuite):
    """As `pytest --pyargs proctor.testing --analyzer too_far`, among the rule's own tests."""

    analyzer = "too_far"
