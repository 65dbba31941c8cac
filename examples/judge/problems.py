"""What there is to solve. A solution reads from stdin and prints."""

from beamlike import record
from cells import Limits


@record
class Case:
    """A test case: what is to be read, and what is to be printed for it, but for spaces at the ends of lines."""

    input: str
    expected: str


@record
class Problem:
    """A problem. Its first case is its sample.

    `wall`: seconds until a solution is ended that does nothing; what it computes is in `limits`.
    """

    name: str
    title: str
    statement: str
    cases: tuple[Case, ...]
    limits: Limits = Limits(memory=64 * 1024 * 1024, cpu=1.0, output_bytes=64 * 1024)
    wall: float = 10.0


PROBLEMS = {
    problem.name: problem
    for problem in (
        Problem(
            "sum",
            "Sum",
            "The input has two integers in one line. Print their sum.",
            (Case("1 2\n", "3"), Case("-5 5\n", "0"), Case(f"{10**30} 1\n", f"{10**30 + 1}")),
        ),
        Problem(
            "primes",
            "Primes",
            "The input is an integer n, at most 2,000,000. Print how many primes are less than n. To try every divisor takes too long.",
            (Case("10\n", "4"), Case("2\n", "0"), Case("3\n", "1"), Case("100000\n", "9592"), Case("2000000\n", "148933")),
        ),
    )
}
