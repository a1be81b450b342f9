"""What was declared before an ablation ran: sentences, claims, level, margins and power."""

from __future__ import annotations

from itertools import product
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from mnist_study.core.config import Frozen
from mnist_study.experiments.ablation.outcomes import Outcome
from mnist_study.experiments.ablation.recipes import AVERAGED, FACTORS, LAST, RECIPES, RESTORED
from mnist_study.stats import Verdict


class PowerConfig(Frozen):
    """The assumptions behind the design.

    Attributes:
        run_sd: standard deviation of test accuracy over runs of a cell, in [0, 1].
        correlation: between two cells that share seed and split.
        power: wanted.
        source: of `run_sd` and `correlation`.
    """

    run_sd: float = Field(gt=0, lt=1)
    correlation: float = Field(default=0.0, ge=-0.99, le=0.99)
    power: float = Field(default=0.8, gt=0.05, lt=1)
    source: str = Field(min_length=1)


class Setting(Frozen):
    """One of the settings that a claim is examined at: part, arm and read-out.

    Attributes:
        part: of the ablation.
        arm: in the part; None for an effect, which concerns all cells.
        readout: of the treatment.
        against: arm and read-out of the control; None for an effect or a level.
    """

    part: str
    arm: str | None
    readout: str
    against: tuple[str, str] | None = None


class Claim(Frozen):
    """A claim and the settings at which it is examined; declared before the ablation ran.

    Either `effect` (a main effect or an interaction of the factorial), or `arms` against
    `against_arms` or `against_readout` (paired differences), or `arms` alone (a level, claimed to
    be within `margin` of `target`; or, with "contains", that one more run may give `target`).

    Attributes:
        claim: a sentence without its full stop.
        metric: the outcome.
        direction: of the effect; "below" and "within" claim a level, "contains" a prediction.
        margin: half-width of what counts as no difference, in the metric's unit; None takes that of
            [statistics.margins]. Of a prediction the greatest half-width that says anything.
        target: of a level or prediction, in the metric's unit.
        parts: where it is examined; both recipes unless stated.
        arms: of the parts; those of the treatment.
        against_arms: of the control, in the same part and at the same read-out.
        readouts: of the treatment.
        against_readout: of the control, in the same arm.
    """

    claim: str = Field(min_length=1)
    metric: Outcome
    direction: Literal["increase", "decrease", "below", "within", "contains"]
    margin: float | None = Field(default=None, gt=0)
    target: float | None = None
    parts: tuple[str, ...] = Field(default=RECIPES, min_length=1, strict=False)
    effect: str | None = None
    arms: tuple[str, ...] = Field(default=(), strict=False)
    against_arms: tuple[str, ...] = Field(default=(), strict=False)
    readouts: tuple[str, ...] = Field(
        default=(LAST, RESTORED, AVERAGED), min_length=1, strict=False
    )
    against_readout: str | None = None

    @property
    def is_level(self) -> bool:
        """Whether the claim is about a value and not about a difference."""
        return self.direction in ("below", "within", "contains")

    def margin_or(self, default: float) -> float:
        """Return the margin, or a default where the claim has none of its own."""
        return default if self.margin is None else self.margin

    @model_validator(mode="after")
    def _one_contrast(self) -> Self:
        has_control = bool(self.against_arms) or self.against_readout is not None
        if (self.effect is None) == (not self.arms):
            raise ValueError("expected either effect or arms, not both and not neither")
        if self.effect is not None:
            names = self.effect.split(":")
            if [name for name in FACTORS if name in names] != names:
                raise ValueError(
                    f"effect: found {self.effect!r}, expected names among {', '.join(FACTORS)} in "
                    "this order, joined by ':'"
                )
            if has_control or self.is_level:
                raise ValueError("an effect has a direction, increase or decrease, and no control")
        elif has_control == self.is_level:
            raise ValueError(
                "arms need against_arms or against_readout for increase or decrease, and neither "
                "for below, within or contains"
            )
        if self.is_level != (self.target is not None):
            raise ValueError("a target belongs to below, within or contains, and each needs one")
        if self.direction == "contains" and self.margin is None:
            raise ValueError(
                "margin: found none, expected the greatest half-width that says anything"
            )
        for setting in self.settings():
            if setting.against == (setting.arm, setting.readout):
                raise ValueError(
                    f"{setting.part}, {setting.arm}, {setting.readout} is compared with itself; "
                    "expected two that differ"
                )
        return self

    def settings(self) -> tuple[Setting, ...]:
        """Return the settings at which the claim is examined, in order."""
        if self.effect is not None:
            return tuple(
                Setting(part=part, arm=None, readout=readout)
                for part, readout in product(self.parts, self.readouts)
            )
        return tuple(
            Setting(
                part=part,
                arm=arm,
                readout=readout,
                against=None
                if self.is_level
                else (against or arm, self.against_readout or readout),
            )
            for part, arm, against, readout in product(
                self.parts, self.arms, self.against_arms or (None,), self.readouts
            )
        )


class Sentence(Frozen):
    """A statement of the document, with the claims that test it or the reason why none does.

    Attributes:
        text: in the document's words where `quoted`, else what it says.
        quoted: whether these are its words.
        not_tested: the reason.
        claims: that test it.
    """

    text: str = Field(min_length=1)
    quoted: bool = False
    not_tested: str | None = None
    claims: tuple[Claim, ...] = Field(default=(), strict=False)

    @model_validator(mode="after")
    def _tested_or_not(self) -> Self:
        if (self.not_tested is None) != bool(self.claims):
            raise ValueError("a sentence needs either claims or the reason why it is not_tested")
        return self


class EarlierEdition(Frozen):
    """The edition of an ablation before this one; the report sets its verdicts beside those now.

    Attributes:
        design: what its verdicts rest on: recipe, read-out, replicates.
        limits: why another design may say something else; a sentence.
        verdicts: by claim, in the words of this edition.
    """

    design: str = Field(min_length=1)
    limits: str = Field(min_length=1)
    verdicts: dict[str, Annotated[Verdict, Field(strict=False)]] = Field(min_length=1)


class StatisticsConfig(Frozen):
    """How estimates become verdicts.

    Attributes:
        alpha: two-sided level of all tests and intervals, of the family after Holm.
        margins: half-width of what counts as no difference, for claims without one of their own.
    """

    alpha: float = Field(gt=0, lt=0.5)
    margins: dict[Outcome, Annotated[float, Field(gt=0)]]

    @property
    def confidence(self) -> float:
        """The confidence of all intervals."""
        return 1 - self.alpha

    def margin_of(self, claim: Claim) -> float:
        """Return a claim's margin."""
        return claim.margin_or(self.margins.get(claim.metric, 0.0))
