// Drives a running `gatehouse demo` in real Chromium as a person would:
// registers, sees the app name them, signs out, mistypes, signs in, changes
// the password, ends the session. Scripts are off in the pages throughout.
// Usage: node browser.mjs ORIGIN SCREENSHOT_DIR
import { createRequire } from 'node:module'
import { mkdirSync } from 'node:fs'
import path from 'node:path'
import assert from 'node:assert/strict'

const require = createRequire(path.join(process.env.PLAYWRIGHT_DIR, 'x.js'))
const { chromium } = require('playwright-core')
const [origin, shots] = process.argv.slice(2)
mkdirSync(shots, { recursive: true })

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
})
const passed = []
const step = async (name, run) => { await run(); passed.push(name); console.log('ok  ', name) }
const email = `ann.${Date.now()}@example.com`, first = 'a-long-walk-in-the-rain-1', second = 'another-walk-in-the-snow-2'

const context = await browser.newContext({ ignoreHTTPSErrors: true, javaScriptEnabled: false, viewport: { width: 1100, height: 800 } })
const page = await context.newPage()
// A form post ends in a new page; what is asserted is asserted of that one.
const submit = () => Promise.all([page.waitForNavigation(), page.keyboard.press('Enter')])
const external = []
page.on('request', r => { if (!r.url().startsWith(origin)) external.push(r.url()) })

await step('an unknown visitor lands on the sign-in page, deep link kept', async () => {
  await page.goto(origin + '/deep/link?a=1&b=2')
  assert.match(page.url(), /\/_auth\/login\?rd=/)
  await page.screenshot({ path: path.join(shots, 'login-light.png') })
})
await step('a wrong password says so and keeps the address', async () => {
  await page.fill('input[name=email]', email)
  await page.fill('input[name=password]', 'wrong-wrong-wrong')
  await submit()
  assert.equal(await page.inputValue('input[name=email]'), email)
  assert.ok(await page.locator('[role=alert]').count())
  await page.screenshot({ path: path.join(shots, 'login-error.png') })
})
await step('a weak password is refused with what is wrong', async () => {
  await page.goto(origin + '/_auth/register?rd=%2Fdeep%2Flink%3Fa%3D1%26b%3D2')
  await page.fill('input[name=email]', email)
  await page.fill('input[name=password]', 'password1234')
  await submit()
  assert.match(page.url(), /register/)
  assert.ok(await page.locator('[role=alert]').count())
  await page.screenshot({ path: path.join(shots, 'register-error.png') })
})
await step('registering signs in and returns to the deep link', async () => {
  await page.fill('input[name=email]', email)
  if (await page.locator('input[name=name]').count()) await page.fill('input[name=name]', 'Änn Müller')
  await page.fill('input[name=password]', first)
  await submit()
  await page.waitForURL(origin + '/deep/link?a=1&b=2')
  const text = await page.textContent('body')
  assert.ok(text.includes('Änn Müller'), 'the app names the person')
  assert.ok(text.includes(email), 'the app shows the address')
  assert.ok(!text.includes('__Host-gatehouse'), 'the app never sees our cookies')
  await page.screenshot({ path: path.join(shots, 'app.png') })
})
await step('the account page lists this session', async () => {
  await page.goto(origin + '/_auth/')
  assert.ok((await page.textContent('body')).includes(email))
  await page.screenshot({ path: path.join(shots, 'account-light.png'), fullPage: true })
})
await step('the password can be changed, and the page stays signed in', async () => {
  await page.fill('input[name=current_password]', first)
  await page.fill('input[name=new_password]', second)
  await submit()
  await page.goto(origin + '/after')
  assert.equal(page.url(), origin + '/after')
})
await step('signing out really signs out', async () => {
  await page.goto(origin + '/_auth/logout')
  await page.screenshot({ path: path.join(shots, 'logout.png') })
  await Promise.all([page.waitForNavigation(), page.locator('main button[type=submit], form button').first().click()])
  await page.goto(origin + '/')
  assert.match(page.url(), /\/_auth\/login/)
  assert.equal((await context.cookies(origin)).filter(c => c.name.startsWith('__Host-gatehouse')).length, 0)
})
await step('the new password signs in, by keyboard alone', async () => {
  await page.focus('input[name=email]')
  await page.keyboard.type(email)
  await page.keyboard.press('Tab')
  await page.keyboard.type(second)
  await submit()
  await page.waitForURL(origin + '/')
})
await step('pages load nothing from elsewhere', async () => assert.deepEqual(external, []))

for (const [name, options] of Object.entries({
  dark: { colorScheme: 'dark', viewport: { width: 1100, height: 800 } },
  phone: { viewport: { width: 390, height: 844 }, deviceScaleFactor: 2 },
  'phone-dark': { colorScheme: 'dark', viewport: { width: 390, height: 844 }, deviceScaleFactor: 2 },
})) {
  await step(`pages in ${name}`, async () => {
    const c = await browser.newContext({ ignoreHTTPSErrors: true, javaScriptEnabled: false, storageState: await context.storageState(), ...options })
    const p = await c.newPage()
    for (const [file, url] of [['account', '/_auth/'], ['app', '/']]) {
      await p.goto(origin + url)
      await p.screenshot({ path: path.join(shots, `${file}-${name}.png`), fullPage: true })
    }
    await c.clearCookies()
    for (const [file, url] of [['login', '/_auth/login'], ['register', '/_auth/register'], ['error', '/_auth/nothing-here']]) {
      await p.goto(origin + url)
      await p.screenshot({ path: path.join(shots, `${file}-${name}.png`), fullPage: true })
      const wide = await p.locator('html').evaluate(e => e.scrollWidth)
      assert.ok(wide > 0 && wide <= options.viewport.width, `${file} is ${wide} wide`)
    }
    await c.close()
  })
}
await browser.close()
console.log(`${passed.length} passed, 0 failed`)
