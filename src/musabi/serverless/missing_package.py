"""What is said where the endpoint's packages are not installed."""

from musabi.errors import MachineError


def missing_package(verb: str, package: str) -> MachineError:
    """Return the error for a verb that can't do without a package of the extra `serverless`."""
    return MachineError(
        f"musabi {verb} needs the package {package}. In a checkout run scripts/setup.sh serverless, "
        'else: pip install "musabi[serverless]"'
    )
