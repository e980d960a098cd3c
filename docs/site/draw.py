"""Draws the pictures of the idea and of the learners: `python docs/site/draw.py` writes `docs/pictures/*.svg`.

All are 460 wide, so that their words can be read on a phone. What adapts within a trial is orange.
"""

from html import escape
from pathlib import Path

PICTURES = Path(__file__).parents[1] / "pictures"

STYLE = """
.drawn { --ink: #1f2933; --line: #6b7785; --box: #eef2f8; --hot: #c2410c; --warm: #ffedd5; max-width: 460px;
  font: 14px system-ui, sans-serif; }
@media (prefers-color-scheme: dark) { .drawn { --ink: #e4e7eb; --line: #9aa5b1; --box: #2b3340; --hot: #fb923c;
  --warm: #4a2c17; } }
[data-md-color-scheme=default] .drawn { --ink: #1f2933; --line: #6b7785; --box: #eef2f8; --hot: #c2410c;
  --warm: #ffedd5; }
[data-md-color-scheme=slate] .drawn { --ink: #e4e7eb; --line: #9aa5b1; --box: #2b3340; --hot: #fb923c;
  --warm: #4a2c17; }
.drawn rect, .drawn circle { fill: var(--box); stroke: var(--line); }
.drawn .hot { fill: var(--warm); stroke: var(--hot); stroke-width: 2; }
.drawn .frame { fill: none; stroke-dasharray: 5 4; }
.drawn text { fill: var(--ink); text-anchor: middle; dominant-baseline: central; }
.drawn .small { font-size: 12px; }
.drawn .left { text-anchor: start; }
.drawn path { fill: none; stroke: var(--line); stroke-width: 1.5; }
.drawn .adapts { stroke: var(--hot); stroke-width: 2; }
.drawn .tip { fill: var(--line); stroke: none; }
.drawn .adapts-tip { fill: var(--hot); stroke: none; }
"""


class Drawing:
    """A picture that is put together from boxes, words and arrows."""

    def __init__(self, height: int):
        self.height = height
        self.parts: list[str] = []

    def box(self, x, y, width, height, words="", kind="", small=False):
        """A box with words, one line each, in its middle."""
        self.parts.append(
            f'<rect class="{kind}" x="{x}" y="{y}" width="{width}" height="{height}" rx="6"/>'
        )
        lines = words.split("\n") if words else []
        middle = y + height / 2 - 8.5 * (len(lines) - 1)
        for number, line in enumerate(lines):
            self.text(x + width / 2, middle + 17 * number, line, "small" if small else "")

    def text(self, x, y, words, kind="small"):
        self.parts.append(f'<text class="{kind}" x="{x}" y="{y}">{escape(words)}</text>')

    def dot(self, x, y, radius=7, kind=""):
        self.parts.append(f'<circle class="{kind}" cx="{x}" cy="{y}" r="{radius}"/>')

    def arrow(self, *points, adapts=False):
        """An arrow along horizontal and vertical lines through the points."""
        kind = "adapts" if adapts else ""
        path = " ".join(f"{'L' if number else 'M'}{x} {y}" for number, (x, y) in enumerate(points))
        (x0, y0), (x, y) = points[-2:]
        dx, dy = (x > x0) - (x < x0), (y > y0) - (y < y0)
        tip = f"M{x} {y} l{-8 * dx - 4 * dy} {-8 * dy - 4 * dx} l{8 * dy} {8 * dx} z"
        tip_kind = "adapts-tip" if adapts else "tip"
        self.parts.append(f'<path class="{kind}" d="{path}"/><path class="{tip_kind}" d="{tip}"/>')

    def save(self, name):
        body = "\n".join(self.parts)
        text = (
            f'<svg class="drawn" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 460 {self.height}">\n'
            f"<style>{STYLE}</style>\n{body}\n</svg>\n"
        )
        (PICTURES / f"{name}.svg").write_text(text, encoding="utf-8")


def idea():
    drawing = Drawing(470)
    drawing.box(6, 6, 448, 366, kind="frame")
    drawing.text(230, 24, "one meta-step: one compiled program", "")
    drawing.box(70, 44, 320, 62)
    drawing.text(230, 60, "task distribution", "")
    for number in range(13):
        drawing.dot(98 + 22 * number, 86, kind="hot" if number in (2, 5, 9) else "")
    drawing.arrow((230, 106), (230, 146))
    drawing.text(242, 126, "draw N new tasks", "small left")
    drawing.box(70, 146, 320, 112)
    drawing.text(230, 162, "a trial in each task, side by side", "")
    for number in range(3):
        x = 84 + 106 * number
        drawing.box(x, 178, 80, 46, f"episodes\nround {number + 1}", small=True)
        if number < 2:
            drawing.arrow((x + 80, 201), (x + 106, 201), adapts=True)
    drawing.text(230, 241, "the learner adapts within the trial")
    drawing.arrow((230, 258), (230, 298))
    drawing.text(242, 278, "returns after adaptation", "small left")
    drawing.box(70, 298, 320, 60, "outer update\nchanges how the learner begins and adapts")
    drawing.arrow((70, 328), (36, 328), (36, 201), (70, 201))
    drawing.text(230, 390, "around it, every few meta-steps, without a change to any result")
    for number, words in enumerate(("checkpoint", "log", "evaluation")):
        drawing.box(70 + 110 * number, 408, 100, 40, words)
    drawing.save("idea")


def gradient(name, hot, note):
    """Rounds with gradient steps between them, above the parts of the policy."""
    drawing = Drawing(224)
    for number, policy in enumerate(("θ", "θ′", "θ″")):
        x = 8 + 170 * number
        drawing.box(x, 10, 104, 54, f"round {number + 1}\npolicy {policy}")
        if number < 2:
            drawing.arrow((x + 104, 37), (x + 170, 37), adapts=True)
            drawing.text(x + 137, 20, "gradient")
            drawing.text(x + 137, 54, "step")
    drawing.text(230, 90, "the policy")
    parts = (
        ("context", 10, 128, 118, "context"),
        ("observation", 10, 172, 118, "observation"),
        ("hidden", 182, 150, 110, "hidden layers"),
        ("head", 340, 150, 110, "head"),
    )
    for part, x, y, width, words in parts:
        if part == "context" and "context" not in hot:
            continue
        drawing.box(x, y - 18, width, 36, words, "hot" if part in hot else "")
    if "context" in hot:
        drawing.arrow((128, 128), (155, 128), (155, 143), (182, 143))
    drawing.arrow((128, 172), (155, 172), (155, 157), (182, 157))
    drawing.arrow((292, 150), (340, 150))
    drawing.text(230, 210, note)
    drawing.save(name)


def zero_order():
    drawing = Drawing(210)
    drawing.box(8, 70, 84, 44, "policy θ", "hot")
    for number, words in enumerate(("θ + σε₁", "θ − σε₁", "θ + σε₂", "…")):
        y = 12 + 42 * number
        drawing.box(136, y, 90, 32, words)
        drawing.arrow((92, 92), (114, 92), (114, y + 16), (136, y + 16))
        drawing.arrow((226, y + 16), (262, y + 16))
        drawing.text(276, y + 16, "F" + "₁₂₃…"[number] if number < 3 else "…", "")
        drawing.arrow((290, y + 16), (312, y + 16), (312, 92), (334, 92))
    drawing.box(334, 66, 118, 52, "step along ε\nweighed by F")
    drawing.arrow((393, 118), (393, 196), (50, 196), (50, 114), adapts=True)
    drawing.text(230, 186, "one perturbed policy an episode; F is its return")
    drawing.save("zero_order")


def sequence_row(drawing, y, words, height=44):
    """Cells of a recurrent core from left to right, across the end of an episode."""
    for number, word in enumerate(words):
        x = 20 + 112 * number
        drawing.box(x, y, 84, height, word, "hot")
        if number < len(words) - 1:
            drawing.arrow((x + 84, y + height / 2), (x + 112, y + height / 2), adapts=True)


def rl2():
    drawing = Drawing(232)
    drawing.box(8, 8, 220, 190, kind="frame")
    drawing.box(232, 8, 220, 190, kind="frame")
    drawing.text(118, 24, "episode 1")
    drawing.text(342, 24, "episode 2")
    sequence_row(drawing, 84, ("state h₁", "h₂", "h₃", "h₄"))
    for number in range(4):
        x = 62 + 112 * number
        drawing.text(x, 178, "o, last a, r")
        drawing.arrow((x, 166), (x, 128))
        drawing.arrow((x, 84), (x, 56))
        drawing.text(x, 44, "action")
    drawing.text(230, 216, "the state goes on from episode to episode, and ends with the trial")
    drawing.save("rl2")


def symmetric_rl2():
    drawing = Drawing(212)
    for number, arm in enumerate(("arm 1", "arm 2", "arm 3")):
        y = 10 + 56 * number
        drawing.text(34, y + 20, arm, "")
        drawing.arrow((62, y + 20), (92, y + 20))
        drawing.box(92, y, 96, 40, "state", "hot")
        drawing.arrow((188, y + 20), (230, y + 20))
        drawing.box(354, y, 96, 40, "score")
        drawing.arrow((312, y + 20), (354, y + 20))
    drawing.box(230, 10, 82, 152, "mean\nand\nmaximum\nover arms")
    drawing.text(230, 192, "the same weights for every arm; any number of arms")
    drawing.save("symmetric_rl2")


def key_value():
    drawing = Drawing(212)
    drawing.text(40, 90, "o, a, r", "")
    drawing.arrow((66, 90), (92, 90))
    drawing.box(92, 62, 104, 56, "recurrent\ncontroller", "hot")
    drawing.text(346, 14, "memory of the trial")
    for number in range(5):
        drawing.box(286, 28 + 26 * number, 52, 24, "key", "hot", small=True)
        drawing.box(342, 28 + 26 * number, 64, 24, "value", "hot", small=True)
    drawing.arrow((196, 76), (286, 76), adapts=True)
    drawing.text(240, 64, "write")
    drawing.arrow((286, 106), (196, 106))
    drawing.text(240, 120, "read")
    drawing.arrow((144, 118), (144, 156))
    drawing.box(92, 156, 104, 40, "policy")
    drawing.text(330, 188, "the slots are empty when a trial begins")
    drawing.save("key_value")


def episodic():
    drawing = Drawing(244)
    drawing.box(8, 8, 444, 92, kind="frame")
    drawing.text(230, 24, "a trial of RL²")
    sequence_row(drawing, 42, ("h₁", "h₂", "…", "last h"))
    drawing.box(90, 150, 280, 50, "store: first observation → state\nkept from trial to trial")
    drawing.arrow((398, 86), (398, 175), (370, 175))
    drawing.text(402, 134, "write", "small left")
    drawing.arrow((90, 175), (62, 175), (62, 86), adapts=True)
    drawing.text(72, 134, "recall, if the observation is familiar", "small left")
    drawing.text(230, 226, "in a task that it has met, the learner begins where it ended")
    drawing.save("episodic")


def varibad():
    drawing = Drawing(212)
    drawing.text(44, 52, "o, a, r", "")
    drawing.text(44, 70, "so far")
    drawing.arrow((74, 60), (96, 60))
    drawing.box(96, 34, 90, 52, "encoder")
    drawing.arrow((186, 60), (212, 60), adapts=True)
    drawing.box(212, 34, 112, 52, "belief\nN(μ, σ²)", "hot")
    drawing.arrow((324, 60), (356, 60))
    drawing.box(356, 34, 96, 52, "policy")
    drawing.arrow((268, 86), (268, 122))
    drawing.box(196, 122, 144, 52, "decoder\n(training only)")
    drawing.text(230, 194, "predicts rewards and observations of the whole trial")
    drawing.text(404, 110, "acts on o, μ, σ")
    drawing.save("varibad")


def hypernetwork(name, is_tuned):
    drawing = Drawing(212)
    _code(drawing, is_tuned)
    drawing.arrow((252, 60), (282, 60))
    drawing.box(282, 34, 118, 52, "generator")
    drawing.arrow((341, 86), (341, 116))
    drawing.text(352, 101, "weights", "small left")
    drawing.arrow((204, 142), (282, 142))
    drawing.text(160, 142, "observation", "")
    drawing.box(282, 116, 118, 52, "policy")
    drawing.text(230, 192, "a few numbers choose all weights of the policy")
    drawing.save(name)


def modular(name, is_tuned):
    drawing = Drawing(232)
    _code(drawing, is_tuned)
    drawing.arrow((252, 60), (316, 60))
    drawing.text(353, 60, "routing", "")
    for layer in range(2):
        for module in range(3):
            on = (layer, module) in ((0, 1), (1, 0))
            x, y = 176 + 140 * layer, 96 + 36 * module
            drawing.box(x, y, 74, 30, "module", "hot" if on else "", small=True)
    drawing.arrow((108, 147), (176, 147), adapts=True)
    drawing.text(62, 147, "observation", "")
    drawing.arrow((250, 147), (283, 147), (283, 111), (316, 111), adapts=True)
    drawing.arrow((390, 111), (414, 111), adapts=True)
    drawing.text(436, 111, "action")
    drawing.text(230, 218, "every task takes its own way through shared modules")
    drawing.save(name)


def _code(drawing, is_tuned):
    """The code of the task: inferred from the trial so far, or tuned by gradient."""
    drawing.box(162, 34, 90, 52, "code of\nthe task", "hot")
    if is_tuned:
        drawing.box(10, 34, 110, 52, "gradient step\nafter a round")
        drawing.arrow((120, 60), (162, 60), adapts=True)
    else:
        drawing.box(10, 34, 118, 52, "encoder of the\ntrial so far")
        drawing.arrow((128, 60), (162, 60), adapts=True)


def main():
    idea()
    gradient("maml", ("hidden", "head"), "all weights adapt")
    gradient("anil", ("head",), "only the head adapts")
    gradient("cavia", ("context",), "only the context adapts, from zero in every trial")
    gradient(
        "meta_sgd", ("hidden", "head"), "all weights adapt, each by a learned step size of its own"
    )
    zero_order()
    rl2()
    symmetric_rl2()
    key_value()
    episodic()
    varibad()
    hypernetwork("hypernetwork", is_tuned=False)
    hypernetwork("tuned_hypernetwork", is_tuned=True)
    modular("modular", is_tuned=False)
    modular("tuned_modular", is_tuned=True)


if __name__ == "__main__":
    main()
