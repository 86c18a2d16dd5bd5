"""Tests of what the page is made by, without a server: `python3 benches/selftest.py`, which
`cargo test --test texts benchmarks` runs."""

import json
import pathlib
import platform
import tempfile
import unittest
import xml.etree.ElementTree

import figures
import page
import run
from figures import BEST, HIGHER, LOWER, Comparison, Goal, Metric, Scenario, Series

OURS = Series("rs_script", (90, 100, 110, 120, 80))
PEERS = (Series("hiredis", (50,) * 5), Series("rs_script, koffi", (400,) * 5), Series("redis-rs", (125,) * 5))


def compared(better, *goals):
    return Comparison(Metric("calls/s", better, goals), OURS, PEERS)


def reached(better, *goals):
    return [(verdict.reached, verdict.is_met) for verdict in compared(better, *goals).verdicts()]


class Figures(unittest.TestCase):
    def test_median_and_quartiles_are_those_of_the_rounds(self):
        self.assertEqual((OURS.median, OURS.quartiles), (100, (90, 110)))
        self.assertEqual(Series("rs_script", (7,)).quartiles, (7, 7))

    def test_a_goal_of_a_rate_is_met_from_it_on(self):
        self.assertEqual(reached(HIGHER, Goal(0.8, "redis-rs"), Goal(0.81, "redis-rs")), [(0.8, True), (0.8, False)])
        self.assertEqual(reached(HIGHER, Goal(101)), [(100, False)])

    def test_a_goal_of_a_time_is_met_up_to_it(self):
        self.assertEqual(reached(LOWER, Goal(2, "hiredis"), Goal(1.9, "hiredis")), [(2, True), (2, False)])
        self.assertEqual(reached(LOWER, Goal(100)), [(100, True)])

    def test_the_best_peer_is_never_another_form_of_ours(self):
        self.assertEqual(reached(HIGHER, Goal(1, BEST)), [(0.8, False)])
        self.assertEqual(reached(LOWER, Goal(1, BEST)), [(2, False)])

    def test_lines_have_the_fields_that_scripts_read(self):
        lines = list(compared(HIGHER, Goal(1, BEST), Goal(50)).lines("c-call-1"))
        self.assertEqual(len(lines), len(PEERS) + 1)
        self.assertEqual(lines[0], "c-call-1\t100.00\thiredis\t50.00\t2.000\tcalls/s\thigher")
        self.assertEqual(lines[-1], "c-call-1\t100.00\tgoal\t50.00\t2.000\tcalls/s\thigher")

    def test_results_come_back_from_their_file(self):
        comparison = compared(LOWER, Goal(3, BEST), Goal(4))
        self.assertEqual(figures.of_json(json.loads(json.dumps(figures.as_json(comparison)))), comparison)


class Scenarios(unittest.TestCase):
    def test_each_has_a_group_of_the_page_and_each_group_has_some(self):
        self.assertEqual({scenario.group for scenario in run.scenarios().values()}, set(page.GROUPS))

    def test_reasons_are_those_of_scenarios(self):
        self.assertLessEqual(set(page.REASONS), set(run.scenarios()))


class Page(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.docs = pathlib.Path(folder.name)
        known = {name: Scenario(name, "calls", "Some calls.", None) for name in ("one", "two-0.2ms", "three", "four")}
        machine = {
            "date": "2026-01-01",
            "version": "0.1.0",
            "processor": "a processor",
            "cores": 2,
            "system": "Linux",
            "servers": "Redis",
            "tools": {"Go": "1.26"},
            "peers": dict.fromkeys(page.peers.TEXTS, "1.2.3"),
        }
        made = [figures.as_json(one) for one in (compared(HIGHER, Goal(1, BEST)), compared(LOWER, Goal(2, "hiredis")))]
        scenarios = {
            "one": {"comparisons": made, "seconds": 1},
            "two-0.2ms": {"comparisons": made[:1], "seconds": 1},
            "three": {"failure": True},
        }
        page.write(
            known,
            {"scenarios": scenarios, "machine": machine, "rounds": 5, "is_quick": True, "seconds": 60},
            self.docs,
        )
        self.text = (self.docs / "benchmarks.md").read_text()

    def test_a_goal_that_is_missed_says_so_where_it_is_and_in_front(self):
        self.assertIn("| redis-rs | 125 | 125 to 125 | 0.80 | at least 1: **missed** |", self.text)
        self.assertIn("| hiredis | 50 | 50 to 50 | 2.00 | at most 2: reached |", self.text)
        self.assertIn("2 of 3 goals are **missed**", self.text)
        self.assertIn("- [one](#one), calls/s: at least 1 times the best peer; reached 0.80\n", self.text)
        # As headings are called in links.
        self.assertIn("[two-0.2ms](#two-02ms)", self.text)

    def test_what_is_missing_from_a_run_is_told(self):
        self.assertIn("### three\n\nSome calls.\n\nThis scenario **failed** in this run.", self.text)
        self.assertIn("This is a quick run", self.text)
        self.assertIn("**The run was broken off: it has 3 of 4 scenarios.**", self.text)

    def test_its_lines_are_as_wide_as_those_of_other_documents(self):
        self.assertLessEqual(max(map(len, self.text.splitlines())), 120)

    def test_its_chart_is_well_formed_and_its_text_is_text(self):
        chart = xml.etree.ElementTree.parse(self.docs / "benchmarks" / "calls.svg")
        texts = ["".join(text.itertext()) for text in chart.iter("{http://www.w3.org/2000/svg}text")]
        self.assertEqual(texts[:3], ["onecalls/s, more is better", "rs_script", "100"])
        self.assertIn("prefers-color-scheme: dark", (self.docs / "benchmarks" / "calls.svg").read_text())

    def test_the_page_in_the_documents_tells_nothing_of_whose_machine_it_is(self):
        text = (page.DOCS / "benchmarks.md").read_text()
        for secret in (platform.node(), str(page.ROOT), str(pathlib.Path.home()), tempfile.gettempdir()):
            self.assertNotIn(f"{secret}/" if secret.startswith("/") else f" {secret} ", text)


if __name__ == "__main__":
    unittest.main()
