"""How the report looks: one style sheet, light and dark, wide and narrow. The page names its digest, and lets no other in."""

import base64
import hashlib

STYLE = """
:root{color-scheme:light dark;--ground:#fff;--ink:#1c2127;--quiet:#5a6470;--line:#d5dae0;--panel:#f6f7f9;--land:#e6e9e4;
--before:#8a5a00;--after:#005a9c;--more:#8d2f2f}
@media(prefers-color-scheme:dark){:root{--ground:#14181d;--ink:#e6e9ed;--quiet:#a3adb8;--line:#38414b;--panel:#1c2229;
--land:#29323a;--before:#e0a84a;--after:#6db7f2;--more:#f09a9a}}
*{box-sizing:border-box}
body{margin:0 auto;padding:1rem;max-width:76rem;background:var(--ground);color:var(--ink);
font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif;overflow-wrap:anywhere}
h1{font-size:1.6rem;line-height:1.25;margin:.5rem 0}
h2{font-size:1.2rem;margin:2.2rem 0 .4rem}
h3{font-size:1rem;margin:.8rem 0 .2rem}
p{margin:.4rem 0 .8rem;max-width:60rem}
.quiet,figcaption{color:var(--quiet);font-size:.9rem}
.words{background:var(--panel);border-left:4px solid var(--after);padding:.7rem 1rem;max-width:none}
h1,h3,li,td,th,figcaption{unicode-bidi:isolate}
figure{margin:0 0 1rem;min-width:0}
svg{display:block;width:100%;height:auto;font:12px system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif}
.grid{display:grid;gap:1rem 1.5rem;grid-template-columns:repeat(auto-fill,minmax(min(100%,20rem),1fr))}
.grid>figure,.lone{max-width:28rem}
.legend{width:22.5rem;max-width:100%;margin:.2rem 0 .6rem}
.wide{overflow-x:auto;max-width:100%;border:1px solid var(--line);border-radius:4px;margin:.3rem 0 1rem}
.wide>svg{min-width:44rem;max-width:64rem;margin:0 auto}
.whole{white-space:nowrap}
table{border-collapse:collapse;width:100%;font-size:.9rem;font-variant-numeric:tabular-nums;overflow-wrap:normal}
th,td{padding:.3rem .6rem;text-align:right;border-bottom:1px solid var(--line);vertical-align:top}
th:first-child,td:first-child{text-align:left}
th.word,td.word{text-align:left}
thead th{border-bottom:2px solid var(--line);font-weight:600}
tbody th{font-weight:400;overflow-wrap:break-word;min-width:7rem;max-width:24rem}
summary{cursor:pointer;color:var(--quiet);padding:.3rem 0}
:focus-visible{outline:3px solid var(--after);outline-offset:2px}
text{fill:var(--ink)}
text.quiet{fill:var(--quiet);font-size:11px}
.axis{stroke:var(--quiet);fill:none}
.rule{stroke:var(--line);fill:none}
.sea{fill:var(--panel)}
.land{fill:var(--land);stroke:none}
.before{color:var(--before)}.after{color:var(--after)}
.line{fill:none;stroke:currentColor;stroke-width:2}.line.before{stroke-dasharray:6 3}
.bar{stroke:currentColor;stroke-width:1.5}.bar.before{fill:url(#hatch)}.bar.after{fill:currentColor}
.hatch{stroke:var(--before);stroke-width:2.5}
.flow{fill:none;stroke:currentColor;stroke-opacity:.55;stroke-linecap:round}
.tip{stroke:none;fill:currentColor}
.none{position:absolute}
.site{fill:var(--ground);stroke:var(--ink);stroke-width:1.5}
.zone{fill:none;stroke:var(--quiet);stroke-width:1.5}
.halo{paint-order:stroke;stroke:var(--ground);stroke-width:3px;stroke-linejoin:round}
@media(max-width:40rem){th,td{padding:.3rem .35rem}tbody th{min-width:5rem}td .whole{white-space:normal}}
@media print{.wide{overflow:visible}.wide>svg{min-width:0}}
"""
DIGEST = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
SECURITY = f"default-src 'none'; style-src 'sha256-{DIGEST}'; base-uri 'none'; form-action 'none'"
"""No script, no picture, no font, no frame, no address: the page can reach nothing."""
