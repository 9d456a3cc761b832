"""Sentences on diverged replicas."""

from dataclasses import replace

from tools.summaries import compare_pairs, make_summary

from rnnstudy.report.analysis.summary import Summary
from rnnstudy.report.sentences.divergence import changed_divergence, divergence
from rnnstudy.report.sentences.verdict import verdicts


def run(
    name: str, mitigation: str = "none", lr: str = "1", *, at: tuple[int | None, ...] = (), known: bool = True, **given
) -> Summary:
    """Make up a run of 8 replicas; the first ones diverged at these steps."""
    status = ["diverged"] * len(at) + ["finished"] * (8 - len(at))
    steps = [*at, *[None] * (8 - len(at))] if known else ()
    summary = make_summary(name, loss=[2.0] * 8, status=status, diverged_at=steps, **given)
    return replace(summary, mitigation=mitigation, differing={"mitigation": mitigation, "optimizer.lr": lr})


def changed(*pairs: tuple[Summary, Summary]) -> list[str]:
    return changed_divergence(compare_pairs(pairs))


BASE, CLIPPED = run("base", at=(3, 2, 1, 1, 1, 1, 2, 2)), run("clipped", "clip_norm")


def test_the_report_begins_with_what_kept_replicas_from_diverging():
    first = "Without a mitigation 8 of 8 replicas diverged, the first at step 1; with clip_norm none did."
    assert changed((CLIPPED, BASE)) == [first]
    told = verdicts([BASE, CLIPPED], compare_pairs([(CLIPPED, BASE)]), "mitigation=[]")
    assert told[0] == first
    assert told[1].startswith("Neither run solved the task in any replica")
    assert not any("replicas of base diverged" in sentence for sentence in told)
    other = run("other", lr="9", at=(7,))  # compared with none
    told = verdicts([BASE, CLIPPED, other], compare_pairs([(CLIPPED, BASE)]), "mitigation=[]")
    assert "Diverged: 8 of 8 replicas of base; 1 of 8 replicas of other." in told


def test_it_is_silent_where_nothing_changed_or_is_known_yet():
    assert changed((CLIPPED, run("calm"))) == []
    assert changed((run("too", "clip_norm", at=(9, 9)), run("base 2", at=(1, 1)))) == []
    assert changed((replace(CLIPPED, steps_run=None), BASE)) == []
    assert changed((replace(CLIPPED, seeds=tuple(range(100, 108))), BASE)) == []
    assert verdicts([run("calm"), CLIPPED], compare_pairs([(CLIPPED, run("calm"))]), "")[0].startswith("Neither run")


def test_comparisons_of_the_same_settings_are_added_up():
    pairs = [(run("c", "clip_norm", lr, at=(50,) if lr == "3" else ()), run("b", lr=lr)) for lr in ("1", "2")]
    pairs.append((run("c 3", "clip_norm", "3", at=(50,)), run("b 3", lr="3", at=(30, 4))))
    assert changed(*pairs) == [
        "Without a mitigation 2 of 16 replicas diverged, the first at step 4; with clip_norm 1 of 24 did, at step 50 "
        "(not shown to be more than chance)."
    ]


def test_settings_of_one_outcome_are_named_together_and_many_are_added_up():
    a, b, c, d, e = (run(name, name, at=at) for name, at in zip("abcde", ((), (5,), (), (7, 6), (9,) * 3), strict=True))
    first = "Without a mitigation 8 of 8 replicas diverged, the first at step 1; with "
    for runs, said in (
        ((a, b, c), "a and with c none did, with b 1 of 8 did, at step 5."),
        ((a, b, c, d, e), "5 other settings 6 of 40 did, the first at step 5."),
        ([run(name, name) for name in "abcd"], "4 other settings none did."),
    ):
        assert changed(*((each, BASE) for each in runs)) == [first + said]


def test_a_remedy_can_be_to_blame_and_a_baseline_can_be_a_setting():
    assert changed((run("omega", "omega", at=(4,)), run("calm"))) == [
        "Without a mitigation no replica diverged; with omega 1 of 8 did, at step 4 (not shown to be more than chance)."
    ]
    assert changed((run("slow", lr="0.1"), run("fast", lr="3", at=(4,)))) == [
        "With lr=3 1 of 8 replicas diverged, at step 4; with lr=0.1 none did (not shown to be more than chance)."
    ]


def test_a_step_that_is_unknown_is_not_told():
    assert changed((CLIPPED, run("old", at=(1, 1), known=False))) == [
        "Without a mitigation 2 of 8 replicas diverged; with clip_norm none did (not shown to be more than chance)."
    ]


def test_what_diverged_is_told():
    assert divergence([run("fair")]) == []
    assert divergence([run("irnn, lr=30", at=(9,) * 8), run("fair")]) == [
        "8 of 8 replicas of irnn, lr=30 diverged, the first at step 9."
    ]
    some = [run("a", at=(5,)), run("b", at=(5,) * 6)]
    assert divergence(some) == ["Diverged: 1 of 8 replicas of a; 6 of 8 replicas of b."]
    many = [*some, run("c", at=(5, 5)), run("d", at=(5,) * 8), run("e")]
    assert divergence(many) == ["In 4 of 5 runs replicas diverged, 17 of their 32, in 1 of them every one."]
