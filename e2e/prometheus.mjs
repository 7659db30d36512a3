// Signs in, opens Prometheus behind the gateway and runs a query in its page.
// Usage: node prometheus.mjs ORIGIN EMAIL PASSWORD
import { createRequire } from 'node:module'
import path from 'node:path'
import assert from 'node:assert/strict'

const require = createRequire(path.join(process.env.PLAYWRIGHT_DIR, 'x.js'))
const { chromium } = require('playwright-core')
const [origin, email, password] = process.argv.slice(2)
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync',
    '--host-resolver-rules=MAP *.test 127.0.0.1'],
})
const page = await (await browser.newContext({ ignoreHTTPSErrors: true })).newPage()
await page.goto(origin + '/classic/graph')
assert.match(page.url(), /\/_auth\/login/)
await page.fill('input[name=email]', email)
await page.fill('input[name=password]', password)
await page.keyboard.press('Enter')
await page.waitForURL(/\/graph/)
const body = await page.evaluate(async () => (await fetch('/api/v1/query?query=up')).json())
assert.equal(body.status, 'success')
await page.goto(origin + '/classic/graph?g0.expr=vector(42)&g0.tab=1')
await page.waitForFunction(() => document.body.innerText.includes('42'), null, { timeout: 20000 })
await browser.close()
console.log('1 passed, 0 failed')
