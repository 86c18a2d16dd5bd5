"""What a scenario yields: figures of several clients, each with all its rounds, and what ours ought to be."""

import dataclasses
import statistics

HIGHER = "higher"
LOWER = "lower"

BEST = "the best peer"
# Of a figure that has no peer; the line of it names this in a peer's place.
GOAL = "goal"


@dataclasses.dataclass(frozen=True)
class Goal:
    """What our figure ought to reach: so many times that of the client `of`, or a value where that is None."""

    value: float
    of: str | None = None


@dataclasses.dataclass(frozen=True)
class Metric:
    """One of the numbers that a measurement gives. Without a unit it is left out."""

    unit: str
    better: str
    goals: tuple[Goal, ...] = ()


@dataclasses.dataclass(frozen=True)
class Series:
    """A client's figure, of each round."""

    client: str
    rounds: tuple[float, ...]

    @property
    def median(self):
        return statistics.median(self.rounds)

    @property
    def quartiles(self):
        """The two between which the middle half of the rounds lies; the same number twice if there is one round."""
        if len(self.rounds) < 2:
            return self.rounds * 2
        low, _, high = statistics.quantiles(self.rounds, n=4, method="inclusive")
        return low, high


@dataclasses.dataclass(frozen=True)
class Verdict:
    """A goal, what was reached of it, and whether that is enough."""

    goal: Goal
    reached: float
    is_met: bool


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Our figure and those of others, measured in turn."""

    metric: Metric
    ours: Series
    others: tuple[Series, ...] = ()

    @property
    def peers(self):
        """Those of the others that are no other form of ours."""
        return tuple(other for other in self.others if not is_ours(other.client))

    def ratio(self, other):
        return self.ours.median / other.median if other.median else None

    def best(self):
        choose = max if self.metric.better == HIGHER else min
        return choose(self.peers, key=lambda series: series.median)

    def verdicts(self):
        for goal in self.metric.goals:
            if goal.of is None:
                reached = self.ours.median
            else:
                others = {other.client: other for other in self.others}
                reached = self.ratio(self.best() if goal.of == BEST else others[goal.of])
            if reached is not None:
                is_met = reached >= goal.value if self.metric.better == HIGHER else reached <= goal.value
                yield Verdict(goal, reached, is_met)

    def lines(self, scenario):
        """A line for each of the others, and for each value that is a goal: fields separated by tabs."""
        against = [(other.client, other.median) for other in self.others]
        against += [(GOAL, goal.value) for goal in self.metric.goals if goal.of is None]
        for client, figure in against:
            ratio = f"{self.ours.median / figure:.3f}" if figure else "-"
            ours, theirs = number(self.ours.median), number(figure)
            yield "\t".join((scenario, ours, client, theirs, ratio, self.metric.unit, self.metric.better))


@dataclasses.dataclass(frozen=True)
class Scenario:
    """`run` takes the bench and yields comparisons; `text` says in a sentence what is measured."""

    name: str
    group: str
    text: str
    run: object


def is_ours(client):
    return client.startswith("rs_script")


def number(value):
    return f"{value:.0f}" if value >= 1000 else f"{value:.2f}"


def as_json(comparison):
    return dataclasses.asdict(comparison)


def of_json(made):
    metric = Metric(made["metric"]["unit"], made["metric"]["better"], tuple(Goal(**g) for g in made["metric"]["goals"]))
    series = [Series(one["client"], tuple(one["rounds"])) for one in (made["ours"], *made["others"])]
    return Comparison(metric, series[0], tuple(series[1:]))
