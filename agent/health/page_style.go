package health

// pageStyle is the whole look of the status page: no file, font or script beside it.
const pageStyle = `
:root{--bg:#f6f7f9;--card:#fff;--ink:#1b2430;--soft:#5c6b7c;--edge:#dde3ea;--good:#0f7a57;--goodbg:#dff5ec;--bad:#c02b2b;--badbg:#fbe4e2;--mid:#8a6100;--midbg:#fbf0d5;--run:#1f5fd0;--runbg:#e1ebfd}
@media (prefers-color-scheme:dark){:root{--bg:#10151c;--card:#19212b;--ink:#e6ecf3;--soft:#93a3b5;--edge:#2a3542;--good:#4fd1a1;--goodbg:#123a2d;--bad:#ff8078;--badbg:#451d1d;--mid:#f0c45c;--midbg:#3d3115;--run:#7fb0ff;--runbg:#182f55}}
*{box-sizing:border-box}
body{margin:0;background:var(--bg);color:var(--ink);font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif}
header,main,footer{max-width:1080px;margin:0 auto;padding:0 20px}
header{display:flex;align-items:center;gap:14px;padding-top:22px;padding-bottom:6px;flex-wrap:wrap}
h1{font-size:21px;margin:0;letter-spacing:-.01em}
h2{font-size:12px;text-transform:uppercase;letter-spacing:.08em;color:var(--soft);margin:0 0 8px;font-weight:600}
main>h2{margin:30px 0 10px}
.host{color:var(--soft);overflow-wrap:anywhere;flex:1;min-width:12ch}
.pill{display:inline-block;border-radius:99px;padding:1px 11px;font-size:13px;font-weight:600;white-space:nowrap}
.pill.good{background:var(--goodbg);color:var(--good)}.pill.bad{background:var(--badbg);color:var(--bad)}.pill.mid{background:var(--midbg);color:var(--mid)}.pill.run{background:var(--runbg);color:var(--run)}
.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(290px,1fr));gap:14px;margin-top:14px}
section,details{background:var(--card);border:1px solid var(--edge);border-radius:10px;padding:15px 18px;min-width:0}
.big{font-size:24px;font-weight:650;margin:0 0 4px;letter-spacing:-.01em}
.big.good,.probes .good b{color:var(--good)}.big.bad,.probes .bad b{color:var(--bad)}.big.mid{color:var(--mid)}
.revision{font-weight:600;margin:0 0 6px;overflow-wrap:anywhere}
.why{margin:0 0 8px;overflow-wrap:anywhere}.none{color:var(--soft);margin:4px 0}
.problem{background:var(--badbg);color:var(--bad);border-radius:8px;padding:9px 14px}
dl{display:grid;grid-template-columns:max-content 1fr;gap:2px 12px;margin:8px 0 0;font-size:14px}
dt{color:var(--soft)}dd{margin:0;overflow-wrap:anywhere}
.probes{list-style:none;margin:10px 0 0;padding:9px 0 0;border-top:1px solid var(--edge);font-size:14px;overflow-wrap:anywhere}
details{margin-bottom:10px;padding:0}
summary{display:flex;gap:11px;align-items:center;padding:11px 16px;cursor:pointer;flex-wrap:wrap;list-style:none}
summary::-webkit-details-marker{display:none}
summary::before{content:"";border:5px solid transparent;border-left-color:var(--soft);margin-right:-6px}
details[open]>summary::before{transform:rotate(90deg);transform-origin:25% 50%}
.what{color:var(--soft);flex:1;min-width:20ch;overflow-wrap:anywhere}
.mark{color:var(--good);font-size:13px;font-weight:600}.mark:empty{display:none}
.when{color:var(--soft);font-size:13px}
.note{margin:0 18px 8px;color:var(--soft)}
.line{width:calc(100% - 32px);margin:2px 16px 14px;border-collapse:collapse;font-size:14px;table-layout:fixed}
.line th{width:170px;text-align:left;font-weight:400;padding:3px 0}
.line .took{width:78px;text-align:right;color:var(--soft);font-variant-numeric:tabular-nums}
.track{padding:0 10px}
.track i{display:block;height:10px;border-radius:4px;min-width:4px;background:var(--good)}
.bad .track i{background:var(--bad)}.run .track i{background:var(--run)}.mid .track i{background:var(--mid)}
tr.bad th{color:var(--bad);font-weight:600}tr.run th{color:var(--run);font-weight:600}
pre{margin:3px 10px 8px;padding:9px 12px;background:var(--badbg);border-radius:7px;white-space:pre-wrap;overflow-wrap:anywhere;font:13px/1.45 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;max-height:22em;overflow:auto}
footer{color:var(--soft);font-size:13px;padding-top:14px;padding-bottom:28px;display:flex;gap:14px;flex-wrap:wrap}
footer span{margin-left:auto}a{color:inherit}
@media (max-width:620px){.line th{width:130px}.what{flex-basis:100%;order:9}}
`
