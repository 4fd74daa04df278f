"""The look of a page: system fonts, one accent, light and dark."""

STYLE = """
:root { color-scheme: light dark; --ground: #fbfbfa; --card: #ffffff; --ink: #1d2126; --soft: #656d78;
  --line: #e3e5e8; --accent: #0b6e8a; --accent-soft: #0b6e8a1a;
  --c0: #0b6e8a; --c1: #d2772b; --c2: #5a8f3c; --c3: #a2467f; --c4: #6b63b5; --c5: #b08a13;
  --c6: #3d8fb8; --c7: #c04f4f; --c8: #4a9a8a; --c9: #8a6d55; }
@media (prefers-color-scheme: dark) { :root { --ground: #14171a; --card: #1c2024; --ink: #e8eaed;
  --soft: #9aa3ad; --line: #2f353b; --accent: #57c1dd; --accent-soft: #57c1dd22;
  --c0: #57c1dd; --c1: #f0a15c; --c2: #94c973; --c3: #d987ba; --c4: #a59ff0; --c5: #e0bf52;
  --c6: #7cbfe6; --c7: #ea8a8a; --c8: #7fcbbb; --c9: #c2a58d; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--ink);
  font: 15px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
header, main, footer { max-width: 1120px; margin: 0 auto; padding: 0 24px; }
header { padding-top: 40px; }
h1 { font-size: 30px; line-height: 1.2; margin: 0; letter-spacing: -0.015em; text-wrap: balance; }
h2 { font-size: 20px; margin: 0 0 4px; letter-spacing: -0.01em; }
h3 { font-size: 14px; margin: 0; font-weight: 650; }
.subtitle { color: var(--soft); margin: 6px 0 0; font-size: 16px; }
nav { display: flex; flex-wrap: wrap; gap: 4px 18px; margin-top: 18px; padding-bottom: 14px;
  border-bottom: 1px solid var(--line); font-size: 14px; }
a { color: var(--accent); text-decoration: none; }
a:hover { text-decoration: underline; }
section { margin: 34px 0; }
.intro, .note { color: var(--soft); margin: 0 0 14px; max-width: 78ch; }
.note { border-left: 3px solid var(--accent); padding: 6px 12px; background: var(--accent-soft);
  border-radius: 0 6px 6px 0; color: var(--ink); }
.facts { margin: 0 0 14px; display: grid; gap: 12px;
  grid-template-columns: repeat(auto-fill, minmax(170px, 1fr)); }
.fact { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 12px 14px; }
.fact b { display: block; font-size: 22px; font-weight: 650; letter-spacing: -0.01em;
  font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
.fact span { color: var(--soft); font-size: 13px; }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(250px, 1fr)); gap: 14px; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 12px 14px; }
.card .sub { color: var(--soft); font-size: 13px; margin: 0 0 8px; }
.card .row { margin-bottom: 8px; }
.row { display: flex; flex-wrap: wrap; gap: 4px; align-items: flex-end; }
.row figure, .figure { margin: 0; }
.row figcaption { font-size: 11px; color: var(--soft); text-align: center; max-width: 90px; }
figcaption { color: var(--soft); font-size: 13px; margin-top: 6px; }
img { display: block; border-radius: 3px; max-width: 100%; }
img.pixels { image-rendering: pixelated; }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(340px, 1fr)); gap: 14px; }
.figure { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 12px 14px;
  overflow-x: auto; }
.figure svg { max-width: 100%; height: auto; display: block; }
.scroll { margin: 0 0 14px; overflow-x: auto;
  background: var(--card); border: 1px solid var(--line); border-radius: 10px; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: 8px 14px; border-bottom: 1px solid var(--line); vertical-align: middle; }
th { color: var(--soft); font-weight: 600; font-size: 13px; white-space: nowrap; }
tr:last-child td { border-bottom: 0; }
td.number, th.number { text-align: right; white-space: nowrap; }
td small { color: var(--soft); }
.bar { display: flex; height: 8px; border-radius: 4px; overflow: hidden; background: var(--line);
  margin: 0 0 6px; }
.legend { display: flex; flex-wrap: wrap; gap: 2px 10px; font-size: 12px; color: var(--soft);
  margin: 0 0 8px; }
.legend i { display: inline-block; width: 8px; height: 8px; border-radius: 2px; margin-right: 4px; }
pre { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 14px;
  overflow-x: auto; font: 13px/1.5 ui-monospace, "SF Mono", Menlo, Consolas, monospace; margin: 0; }
footer { color: var(--soft); font-size: 13px; padding-top: 8px; padding-bottom: 40px; }
@media print { nav { display: none; } section, .card { break-inside: avoid; } }
"""
