"""The look of all pages, light and dark."""

STYLE = """
@layer overrides {
:root { --back: #f4f6f9; --card: #ffffff; --text: #1c2430; --faint: #4a5666; --line: #d5dbe5; --strong: #0b5cad;
  --good: #1b7a3d; --bad: #b3261e; --warn: #8a5a00; --hover: #eaf1f9 }
body.body--dark { --back: #12161c; --card: #1a2029; --text: #dde3ec; --faint: #a5b0c0; --line: #2c3543;
  --strong: #8cc0ff; --good: #7ddc9c; --bad: #ff8a80; --warn: #ffc862; --hover: #232c38 }
body, body.body--dark { background: var(--back); color: var(--text); font: 14px/1.5 system-ui, sans-serif }
.nicegui-content { padding: 0; display: block }
.content { display: block; padding: 16px 24px 48px; outline: none }
.title { font-size: 22px; font-weight: 600; margin-bottom: 12px }
.subtitle { font-size: 16px; font-weight: 600; margin: 20px 0 8px }
.top { background: var(--card); color: var(--text); border-bottom: 1px solid var(--line); display: flex;
  align-items: center; gap: 12px; padding: 6px 16px; flex-wrap: wrap }
.brand { font-weight: 700; font-size: 18px; color: var(--strong) }
.which { min-width: 180px; color: var(--text) }
.who { color: var(--faint) }
.trouble { color: var(--bad); font-weight: 600 }
.top .q-btn { color: var(--text) !important }
.skip { position: absolute; left: -999px } .skip:focus { left: 8px; background: var(--card); padding: 8px; z-index: 9 }
.side { background: var(--card); border-right: 1px solid var(--line); padding: 12px 8px }
.page-link { display: flex; align-items: center; gap: 10px; padding: 7px 10px; border-radius: 6px;
  color: var(--text) !important; text-decoration: none !important }
.page-link:hover { background: var(--hover) } .page-link.here { background: var(--hover); font-weight: 600 }
.page-link .key { margin-left: auto }
.page-link .q-icon { font-size: 18px; color: var(--faint) }
.key { font: 12px ui-monospace, monospace; color: var(--faint); white-space: nowrap }
a, a:visited, .link { color: var(--strong); text-decoration: none } a:hover { text-decoration: underline }
:focus-visible { outline: 2px solid var(--strong); outline-offset: 2px }
.card, .q-card { background: var(--card); color: var(--text); border: 1px solid var(--line); border-radius: 10px;
  box-shadow: none; padding: 14px 16px }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(220px, 1fr)); gap: 12px; width: 100% }
.halves { display: grid; grid-template-columns: repeat(auto-fit, minmax(440px, 1fr)); gap: 16px; width: 100% }
.figure { font-size: 21px; white-space: nowrap; font-weight: 600; line-height: 1.2 } .faint { color: var(--faint) }
.good { color: var(--good) } .bad { color: var(--bad) } .warn { color: var(--warn) }
.mono { font-family: ui-monospace, monospace; font-size: 12.5px; white-space: pre-wrap; overflow-wrap: anywhere }
.q-table__card { background: var(--card); color: var(--text); border: 1px solid var(--line); border-radius: 10px;
  box-shadow: none; width: 100% }
.q-table thead th { font-size: 12px; font-weight: 600; color: var(--faint) }
.q-table th, .q-table td { white-space: normal !important }
.q-table .text-right { white-space: nowrap !important }
.q-table thead th { vertical-align: bottom; padding-right: 18px }
.q-table__sort-icon { position: absolute }
.q-table tbody td { font-size: 13px; max-width: 480px } .q-table td .mono { display: inline-block; min-width: 120px }
.wide { min-width: 320px }
.q-table--dense .q-table th, .q-table--dense .q-table td { padding: 4px 8px }
.q-table__bottom { color: var(--faint) }
.pill { display: inline-block; padding: 0 8px; border-radius: 9px; font-size: 12px; font-weight: 600;
  border: 1px solid currentColor; white-space: nowrap }
.q-field__native, .q-field__label, .q-field__input, .q-field__marginal { color: var(--text) !important }
.text-primary { color: var(--strong) !important }
.chain li + li::before { content: "→"; margin-right: 8px; color: var(--faint) } .chain li { border: 0 !important }
.q-btn.action { color: var(--strong) !important; padding: 2px 10px }
.q-btn.action[disabled] { opacity: 1 !important; color: var(--faint) !important; border-style: dashed }
.q-loading-bar { display: none }
.q-menu, .q-dialog .q-card { background: var(--card); color: var(--text) }
.q-dialog__inner { z-index: 1 } .w-full { width: 100% }
.q-dialog .q-btn--flat { color: var(--strong) !important }
.question { font-size: 16px; font-weight: 600 } .help-row .key { min-width: 40px }
.verdict { margin-bottom: 12px } .reasons { white-space: pre-line }
.figures { grid-template-columns: repeat(auto-fill, minmax(130px, 1fr)) }
.sparks { margin-top: 16px } .spark { height: 32px; width: 100% } .spark-name { font-weight: 600 }
.time-chart { height: 270px } .halves { margin-top: 12px; align-items: start }
.change-list { list-style: none; margin: 0; padding: 0 } .change-list li { border-top: 1px solid var(--line) }
.part { margin-bottom: 12px } .instance { display: flex; gap: 12px; align-items: center; flex-wrap: wrap;
  padding: 6px 0; border-top: 1px solid var(--line) } .instance .url { min-width: 220px } .why { flex-basis: 100% }
.pick { background: none; border: 0; padding: 0; font: inherit; cursor: pointer; color: var(--strong) }
.pick:hover { text-decoration: underline }
.explanation { max-height: 480px; overflow: auto; margin-top: 8px; white-space: pre; overflow-wrap: normal }
.fields { display: grid; gap: 2px; margin: 0; align-content: start }
.fields > div { display: grid; grid-template-columns: 110px 1fr; gap: 8px } .fields dt, .fields dd { margin: 0 }
.decided { border-left: 3px solid var(--bad); padding-left: 12px; margin: 10px 0 } .decided .bar { margin: 0 }
.narrow { min-width: 110px } .card > .subtitle:first-child, .card .bar > .subtitle { margin: 0 0 4px }
.chain { display: flex; flex-wrap: wrap; gap: 8px; align-items: center }
.chain li { display: flex; align-items: center }
.step { border: 1px solid var(--line); border-radius: 8px; padding: 4px 10px; background: var(--back) }
.bar { display: flex; gap: 12px; align-items: center; flex-wrap: wrap; margin-bottom: 10px; width: 100% }
.tabs { display: flex; gap: 4px; border-bottom: 1px solid var(--line); margin-bottom: 14px }
.tab { padding: 6px 14px; color: var(--text) !important; border-bottom: 2px solid transparent }
.tab.here { border-color: var(--strong); font-weight: 600 }
.editor { height: 55vh; border: 1px solid var(--line); border-radius: 8px; overflow: hidden; margin: 10px 0 }
.editor .cm-editor { height: 100%; background: var(--card) !important; color: var(--text) !important }
.editor .cm-content { caret-color: var(--text) !important }
.editor .cm-gutters { background: var(--back) !important; color: var(--faint) !important; border: 0 !important }
.editor .cm-line span { color: inherit !important } .editor .cm-activeLine { background: transparent !important }
.editor .cm-cursor { border-color: var(--text) !important }
.outcome { font-weight: 600; margin: 8px 0 } .problems { list-style: none; padding: 0; margin: 8px 0 }
.problems li { display: flex; gap: 8px; align-items: baseline; flex-wrap: wrap }
.q-dialog .wide { width: 760px; max-width: 92vw } .secret { font-size: 15px; user-select: all }
@media (prefers-reduced-motion: reduce) { * { transition: none !important; animation: none !important } }
}
"""
