# SPDX-License-Identifier: Apache-2.0
"""Cases that hypothesis draws and shrinks, and a tally of what they met."""

import collections

import hypothesis
import hypothesis.strategies as st


class DrawnSource:
    """Hypothesis as the source of a generator's choices."""

    def __init__(self, draw):
        self._draw = draw

    def integer(self, low, high):
        return self._draw(st.integers(low, high))

    def choice(self, options):
        return self._draw(st.sampled_from(options))


class Tally:
    """Counts what was compared, so that a test that compares nothing fails."""

    def __init__(self):
        self.compared = 0
        self.skipped = collections.Counter()  # By the reason why the reference has no answer.
        self.features = collections.Counter()

    @property
    def cases(self):
        return self.compared + sum(self.skipped.values())

    def add(self, reason):
        """Notes a case that the reference answers (reason None) or fails on."""
        if reason is None:
            self.compared += 1
        else:
            self.skipped[reason] += 1

    def lines(self, name, reference, otherwise):
        yield f"{name}: {self.cases} cases, {self.compared} compared with {reference}, fwd and dkv each"
        for reason, count in self.skipped.most_common():
            yield f"  {count} against {otherwise}, as {reference} fails: {reason}"
        seen = ", ".join(f"{feature} {count}" for feature, count in sorted(self.features.items()))
        yield f"  seen: {seen}"

    def require(self, features, at_least):
        rare = {f: self.features[f] for f in features if self.features[f] < at_least}
        assert not rare, f"expected each at least {at_least} times, got {rare}"


def run(cases, compare, count):
    """compare(case, tally) for `count` cases of the strategy; returns the tally."""
    tally = Tally()

    @hypothesis.settings(
        max_examples=count,
        suppress_health_check=list(hypothesis.HealthCheck),
        phases=[hypothesis.Phase.generate, hypothesis.Phase.shrink],
    )
    @hypothesis.given(cases)
    def check(case):
        compare(case, tally)

    check()
    return tally
