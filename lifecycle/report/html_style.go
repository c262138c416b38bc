package report

// pageStyle is the whole look of the page. Its colours are those of the status page (agent/health), which a test compares.
const pageStyle = `
:root{--bg:#f6f7f9;--card:#fff;--ink:#1b2430;--soft:#5c6b7c;--edge:#dde3ea;--good:#0f7a57;--goodbg:#dff5ec;--bad:#c02b2b;--badbg:#fbe4e2;--mid:#8a6100;--midbg:#fbf0d5;--run:#1f5fd0;--runbg:#e1ebfd}
@media (prefers-color-scheme:dark){:root{--bg:#10151c;--card:#19212b;--ink:#e6ecf3;--soft:#93a3b5;--edge:#2a3542;--good:#4fd1a1;--goodbg:#123a2d;--bad:#ff8078;--badbg:#451d1d;--mid:#f0c45c;--midbg:#3d3115;--run:#7fb0ff;--runbg:#182f55}}
*{box-sizing:border-box}
html{scroll-padding-top:12px}
body{margin:0;background:var(--bg);color:var(--ink);font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif;-webkit-text-size-adjust:100%}
header,main,footer{max-width:1080px;margin:0 auto;padding:0 20px}
header{display:flex;align-items:center;gap:12px;padding-top:20px;padding-bottom:12px}
.name{font-size:19px;letter-spacing:-.01em}.what{color:var(--soft);flex:1}
h1{font-size:22px;line-height:1.35;margin:0 0 14px;letter-spacing:-.01em;font-weight:650;overflow-wrap:anywhere;text-wrap:pretty}
h2{font-size:12px;text-transform:uppercase;letter-spacing:.08em;color:var(--soft);margin:0 0 10px;font-weight:600}
h3,h4{font-size:15px;margin:0;font-weight:600;overflow-wrap:anywhere}
p{margin:0 0 8px;overflow-wrap:anywhere}
a{color:inherit}
.vh{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%)}
.pill{display:inline-block;border-radius:99px;padding:1px 11px;font-size:13px;font-weight:600;overflow-wrap:anywhere;background:var(--bg);color:var(--soft)}
.pill.good{background:var(--goodbg);color:var(--good)}.pill.bad{background:var(--badbg);color:var(--bad)}.pill.mid{background:var(--midbg);color:var(--mid)}.pill.run{background:var(--runbg);color:var(--run)}
section{background:var(--card);border:1px solid var(--edge);border-radius:10px;padding:16px 18px;margin-bottom:14px;min-width:0}
.verdict{border-left:5px solid var(--soft);padding:18px 20px}
.verdict.good{border-left-color:var(--good)}.verdict.bad{border-left-color:var(--bad)}.verdict.mid{border-left-color:var(--mid)}.verdict.run{border-left-color:var(--run)}
.verdict dl{display:grid;grid-template-columns:repeat(auto-fill,minmax(210px,1fr));gap:10px 20px;margin:0}
dt{color:var(--soft);font-size:13px}dd{margin:0;overflow-wrap:anywhere}
.figures{display:flex;flex-wrap:wrap;gap:14px;margin-bottom:14px}
.figures a{background:var(--card);border:1px solid var(--edge);border-radius:10px;padding:11px 16px;text-decoration:none;flex:1 1 130px;max-width:270px}
.figures a:hover{border-color:var(--soft)}
.figures b{display:block;font-size:20px;font-weight:650;letter-spacing:-.01em;font-variant-numeric:tabular-nums;white-space:nowrap}
.figures span{color:var(--soft);font-size:13px}
.figures .good b,.rows .good td:nth-child(3){color:var(--good)}.figures .bad b,.rows .bad td:nth-child(3){color:var(--bad)}.figures .mid b{color:var(--mid)}
.line{width:100%;border-collapse:collapse;font-size:14px;table-layout:fixed}
.line th{text-align:left;font-weight:400;padding:3px 0;overflow-wrap:anywhere}
.line th:first-child{width:170px}.line tbody th a{text-decoration:none}.line tbody th a:hover{text-decoration:underline}
.line thead th{color:var(--soft);font-size:12px;padding-bottom:6px}
.line .took{width:74px;text-align:right;font-variant-numeric:tabular-nums}.line .became{width:136px;padding-left:14px}
.line td.took,.line td.became{color:var(--soft)}
.track{position:relative}
.tick{position:absolute;bottom:6px;font-style:normal;white-space:nowrap;padding-left:4px;border-left:1px solid var(--edge)}
.ev,.sc{position:absolute;top:50%;min-width:3px;border-radius:4px}
.ev{height:12px;margin-top:-6px;background:var(--goodbg);box-shadow:inset 0 0 0 1px var(--good)}
.sc{height:12px;margin-top:-6px;background:var(--good)}
.bad .ev{background:var(--badbg);box-shadow:inset 0 0 0 1px var(--bad)}.bad .sc{background:var(--bad)}
.mid .ev{background:var(--midbg);box-shadow:inset 0 0 0 1px var(--mid)}.mid .sc{background:var(--mid)}
.none .ev{background:var(--edge);box-shadow:none}.none .sc{background:var(--soft)}.run .ev{background:var(--runbg);box-shadow:inset 0 0 0 1px var(--run)}.run .sc{background:var(--run)}
.line tr.none th,.line tr.none td{color:var(--soft)}tr.bad th,.line tr.bad .became{color:var(--bad);font-weight:600}tr.mid th,.line tr.mid .became{color:var(--mid);font-weight:600}
.legend{color:var(--soft);font-size:13px;margin:8px 0 0}.legend b,.legend i{margin-left:10px}.legend :first-child{margin-left:0}
.key{display:inline-block;position:static;width:22px;height:10px;margin-top:0;vertical-align:-1px}
summary{cursor:pointer;list-style:none}
summary::-webkit-details-marker{display:none}
summary::before{content:"";display:inline-block;flex:none;border:5px solid transparent;border-left-color:var(--soft);margin-right:-4px}
details[open]>summary::before{transform:rotate(90deg);transform-origin:25% 50%}
summary:focus-visible,a:focus-visible{outline:2px solid var(--run);outline-offset:2px;border-radius:4px}
.event{border-top:1px solid var(--edge);padding:9px 0}
h2+.event{border-top:0;padding-top:0}.event:last-child{padding-bottom:0}
.event>summary,.quiet{display:flex;gap:6px 12px;align-items:baseline;flex-wrap:wrap}
.event h3{width:156px}
.quiet{padding:5px 0 5px 18px}.quiet.none h3{font-weight:400;color:var(--soft)}.quiet .pill{font-weight:400}
.aside,.when{color:var(--soft);font-size:13.5px;overflow-wrap:anywhere}.when{margin-left:auto;font-variant-numeric:tabular-nums}
.script{display:flex;gap:4px 10px;align-items:center;flex-wrap:wrap;margin:12px 0 6px}
.script h4{font:600 14px/1.4 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace}
.tag{border:1px solid var(--edge);border-radius:5px;padding:0 7px;font-size:12.5px;color:var(--soft);overflow-wrap:anywhere}
.tag.bad{color:var(--bad);border-color:var(--bad);font-weight:600}
.time{margin-left:auto;color:var(--soft);font-size:13px;font-variant-numeric:tabular-nums;display:inline-flex;gap:8px;align-items:center}
.meter{display:inline-block;width:70px;height:6px;border-radius:3px;background:var(--edge);overflow:hidden}
.meter i{display:block;height:100%;min-width:2px;background:var(--soft)}.meter.much i{background:var(--bad)}
.out,.diff,.says{background:var(--bg);border-radius:7px;padding:8px 12px;font:13px/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;overflow-wrap:anywhere;white-space:pre-wrap;tab-size:4}
.out>div,.out details>div{padding-left:2ch;min-height:1.5em}
.out i{float:left;margin-left:-2ch;font-style:normal;font-weight:700;user-select:none}
.out .e,.says.bad{color:var(--bad)}.out .a,.cut{color:var(--soft)}.out .a i{font-weight:400}
.says{margin:8px 0;min-height:0}.says.bad{background:var(--badbg)}
.fold>summary::before{margin-right:4px}.fold>summary{color:var(--run);font:13px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif;padding:3px 0}
.note,.nil,.more,.cut,.advice{color:var(--soft)}.note,.nil,.more{font-size:14px;margin:6px 0}
.tree{font-size:14px;margin-top:8px}
.tree ul{list-style:none;margin:0;padding:0}
.tree ul ul{padding-left:16px;margin-left:5px;border-left:1px solid var(--edge)}
.tree .row,.tree summary{display:flex;gap:2px 9px;align-items:baseline;flex-wrap:wrap;padding:1.5px 0}
.tree .row{padding-left:15px}.tree li>details>summary::before{align-self:center}
.s{display:inline-block;width:1ch}.p,.names li,.plain li,.place{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;font-size:13px;overflow-wrap:anywhere}
.tree .p{max-width:calc(100% - 20px)}.dir>details>summary>.p,.dir>.row>.p{font-weight:600}
.n{font-size:13px;font-variant-numeric:tabular-nums}
.add{--c:var(--good)}.rem{--c:var(--bad)}.chg{--c:var(--mid)}
b.add,b.chg,b.rem,.s{color:var(--c)}
.d{color:var(--soft);font-size:13px;overflow-wrap:anywhere}
.by{margin-left:auto;font-size:12.5px;color:var(--soft)}.by.hook{color:var(--run)}
.names{columns:20ch auto}.names li{padding-left:15px}
.diff{margin:4px 0 8px 15px}.diff .add{color:var(--good);background:var(--goodbg)}.diff .rem{color:var(--bad);background:var(--badbg)}.diff .h{color:var(--soft)}
.findings,.notes,.plain{list-style:none;margin:0;padding:0}
.findings li{padding:9px 0;border-top:1px solid var(--edge)}.findings li:first-child{border-top:0;padding-top:0}.findings p{margin:4px 0 0}
.place{color:var(--soft)}
.notes li{padding:3px 0;overflow-wrap:anywhere}
#prediction details{margin-top:6px}#prediction summary{display:flex;gap:10px;align-items:baseline}.plain .bad{color:var(--bad)}
.rows{width:100%;border-collapse:collapse;font-size:14px}
.rows th{text-align:left;color:var(--soft);font-weight:400;font-size:13px;padding:0 14px 5px 0}
.rows td{padding:5px 14px 5px 0;border-top:1px solid var(--edge);vertical-align:top;overflow-wrap:anywhere}
.k{white-space:nowrap}
.facts{display:grid;grid-template-columns:max-content 1fr;gap:3px 18px;margin:0;font-size:14px}.facts dt{font-size:14px}
.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(300px,100%),1fr));gap:14px;margin-bottom:14px}.cards section{margin:0}
.x{font-weight:400;font-size:.86em;border-radius:3px;padding:0 2px;background:var(--midbg);color:var(--mid)}
footer{color:var(--soft);font-size:13px;padding-top:4px;padding-bottom:28px;display:flex;gap:14px;justify-content:space-between;flex-wrap:wrap}
@media (max-width:640px){
header,main,footer{padding-left:12px;padding-right:12px}section{padding:14px}
h1{font-size:19px}.figures{gap:10px}.figures a{padding:9px 12px}.figures b{font-size:18px}.verdict dl{grid-template-columns:1fr 1fr}
.line th:first-child{width:128px}.line .became{display:none}.line .took{width:58px}.tick:nth-of-type(even){display:none}
.time,.by,.when{margin-left:0}.quiet .when{display:none}
.rows thead{display:none}.rows tr{display:block;border-top:1px solid var(--edge);padding:6px 0}.rows td{display:flex;gap:10px;border:0;padding:1px 0}
.rows td::before{content:attr(data-h);color:var(--soft);min-width:8ch;flex:none}.rows td:empty{display:none}
.facts{grid-template-columns:1fr}.facts dd{margin-bottom:6px}.diff{margin-left:0}.tree ul ul{padding-left:9px}
}
@media print{
:root{--bg:#fff;--card:#fff;--ink:#000;--soft:#444;--edge:#ccc;--good:#0f7a57;--goodbg:#fff;--bad:#c02b2b;--badbg:#fff;--mid:#8a6100;--midbg:#fff;--run:#1f5fd0;--runbg:#fff}
body{font-size:11px}header,main,footer{max-width:none;padding:0}section{border:0;border-top:1px solid var(--edge);border-radius:0;padding:10px 0;margin:0}
.figures a{padding:5px 8px}.pill{border:1px solid currentColor}summary::before{display:none}.verdict{border-left-width:3px;padding-left:10px}.quiet{padding-left:0}
details::details-content{content-visibility:visible;display:block}.script,tr,.findings li{break-inside:avoid}h2,h3,h4{break-after:avoid}
*{print-color-adjust:exact;-webkit-print-color-adjust:exact}
}
`
