"""The look of the report, light and dark, screen and paper."""

from __future__ import annotations

CSS = """
:root { color-scheme: light dark; --bg:#f4f6f8; --paper:#ffffff; --ink:#1f2933; --muted:#5a6775;
  --line:#dde3e9; --accent:#0b5cad; --good:#0a6b4a; --good-bg:#e0f3eb; --bad:#a8321a; --bad-bg:#fdeae4;
  --warn:#7a4b00; --warn-bg:#fff3d6; --stripe:#f8fafb; }
@media (prefers-color-scheme: dark) { :root { --bg:#12171c; --paper:#1b2229; --ink:#e6ebf0;
  --muted:#9fb0bf; --line:#313b45; --accent:#6cb4ff; --good:#7fdcb6; --good-bg:#12382b; --bad:#ff9d85;
  --bad-bg:#43190f; --warn:#ffd68a; --warn-bg:#3b2b08; --stripe:#202831; } }
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body { margin:0; background:var(--bg); color:var(--ink); line-height:1.5;
  font:16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
main, header, footer { max-width:1080px; margin:0 auto; padding:0 20px; }
header { padding-top:36px; }
h1 { font-size:1.7rem; line-height:1.2; margin:0 0 4px; overflow-wrap:anywhere; }
h2 { font-size:1.22rem; margin:0 0 8px; }
h3 { font-size:1.02rem; margin:26px 0 8px; overflow-wrap:anywhere; }
h3 .badge, p .badge { white-space:normal; border-radius:12px; }
.subtitle, .lead, .card-note, figcaption, footer { color:var(--muted); }
.lead { margin:0 0 14px; max-width:75ch; }
nav { display:flex; flex-wrap:wrap; gap:4px 16px; margin:14px 0 0; font-size:.92rem; }
a { color:var(--accent); text-decoration:none; } a:hover { text-decoration:underline; }
.cards { display:grid; grid-template-columns:repeat(auto-fit,minmax(190px,1fr)); gap:12px; margin:20px 0 0; }
.card { background:var(--paper); border:1px solid var(--line); border-radius:10px; padding:14px 16px; }
.card-title { font-size:.84rem; color:var(--muted); overflow-wrap:anywhere; }
.card-value { font-size:1.5rem; font-weight:650; font-variant-numeric:tabular-nums; margin:2px 0;
  overflow-wrap:anywhere; }
.card-note { font-size:.84rem; }
section { background:var(--paper); border:1px solid var(--line); border-radius:10px; padding:22px 24px;
  margin:20px 0; scroll-margin-top:12px; }
.scroll { overflow-x:auto; margin:10px 0; }
table { border-collapse:collapse; width:100%; font-size:.9rem; font-variant-numeric:tabular-nums; }
th { text-align:left; font-weight:600; color:var(--muted); border-bottom:2px solid var(--line);
  vertical-align:bottom; }
th, td { padding:7px 12px 7px 0; } td { border-bottom:1px solid var(--line); vertical-align:top; }
th:first-child, td:first-child { padding-left:6px; } tbody tr:nth-child(even) { background:var(--stripe); }
.n { text-align:right; white-space:nowrap; } td.n { padding-right:14px; } th.n { padding-right:14px; }
td small { color:var(--muted); display:block; white-space:nowrap; font-weight:400; }
td .badge { font-size:.76rem; padding:0 8px; }
td b { white-space:nowrap; }
.low { color:var(--bad); font-weight:650; }
.badge { display:inline-block; white-space:nowrap; border-radius:99px; padding:1px 10px;
  font-size:.86rem; font-weight:600; }
.badge.good { color:var(--good); background:var(--good-bg); }
.badge.bad { color:var(--bad); background:var(--bad-bg); }
.badge.none { color:var(--muted); background:var(--bg); }
.warning { background:var(--warn-bg); color:var(--warn); border-radius:8px; padding:9px 14px; margin:10px 0; }
.notes { color:var(--muted); font-size:.88rem; padding-left:20px; margin:12px 0 0; }
.figures { display:grid; grid-template-columns:repeat(auto-fill,minmax(min(430px,100%),1fr)); gap:16px;
  align-items:start; margin-top:16px; }
.figures .wide { grid-column:1 / -1; }
figure { margin:0; } figcaption { font-size:.86rem; margin-top:6px; }
img { display:block; max-width:100%; height:auto; margin:0 auto; background:#fff; border-radius:8px;
  border:1px solid var(--line); padding:8px; }
dl { display:grid; grid-template-columns:minmax(110px,max-content) minmax(0,1fr); gap:4px 18px; margin:8px 0;
  font-size:.92rem; }
dt { color:var(--muted); } dd { margin:0; overflow-wrap:anywhere; } dd dl { margin:0; }
details { margin:12px 0 0; border-top:1px solid var(--line); padding-top:10px; }
summary { cursor:pointer; font-weight:600; font-size:.94rem; }
code { font:.85em ui-monospace, "SF Mono", Menlo, Consolas, monospace; overflow-wrap:anywhere; }
footer { padding-top:4px; padding-bottom:40px; font-size:.86rem; }
@media (max-width:600px) { body { font-size:15px; } main, header, footer { padding-left:12px; padding-right:12px; }
  section { padding:16px 14px; } .card-value { font-size:1.3rem; }
  .cards { grid-template-columns:repeat(auto-fit,minmax(150px,1fr)); }
  dl { grid-template-columns:1fr; gap:0; } dt { font-size:.84rem; } dd { margin-bottom:7px; }
  dd dl { padding-left:12px; } }
@media print { :root { --bg:#fff; --paper:#fff; --ink:#000; --muted:#444; --line:#bbb; --accent:#000;
    --good:#0a6b4a; --good-bg:#fff; --bad:#a8321a; --bad-bg:#fff; --warn:#000; --warn-bg:#fff; --stripe:#fff; }
  nav { display:none; } body { font-size:10.5pt; } main, header, footer { max-width:none; padding:0; }
  section, .card { border:0; padding:0; margin:14pt 0; } .card { border:1px solid #bbb; padding:6pt; margin:0; }
  h2, h3 { break-after:avoid; } figure, tr, .card { break-inside:avoid; } .scroll { overflow:visible; }
  table { font-size:8pt; } th, td { padding:3pt 6pt 3pt 0; }
  .figures { grid-template-columns:1fr 1fr; } img { border:0; padding:0; } }
"""
