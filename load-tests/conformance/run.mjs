// Runs the public suite http-cache-tests against a freshly started front door, and says what passed.
//
//     node run.mjs --suite FOLDER --lacquer PROGRAM [--tests FILE] [--id TEST [--show]]
//
// FOLDER is the installed npm package, or a checkout of its repository, which has tests that the package of the same
// version lacks. tests.tsv lists the tests that are run and their kinds, exceptions.tsv those that are known to fail,
// with the reason. Ends with 1 when a test that is required or optimal fails and is not listed there, or passes and
// is.

import { spawn } from 'node:child_process'
import { mkdtemp, readFile, rm, stat } from 'node:fs/promises'
import net from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { parseArgs } from 'node:util'

const here = path.dirname(fileURLToPath(import.meta.url))
const { values: options } = parseArgs({
  options: {
    suite: { type: 'string' },
    lacquer: { type: 'string' },
    tests: { type: 'string', default: 'tests.tsv' },
    id: { type: 'string' },
    show: { type: 'boolean', default: false }
  }
})

if (options.show && !options.id) throw new Error('--show goes with --id: the suite tells every message of a test')

// How long a program may take to open its port.
const START_MS = 20_000
// Many of the tests wait for seconds, and none needs a core.
const TESTS_AT_ONCE = 100

// Rows of a file of tab-separated columns; lines that begin with # are remarks.
async function table (name) {
  const text = await readFile(path.resolve(here, name), 'utf8')
  return text.split('\n').filter(line => line && !line.startsWith('#')).map(line => line.split('\t'))
}

async function freePort () {
  const listener = net.createServer()
  await new Promise(resolve => listener.listen(0, '127.0.0.1', resolve))
  const { port } = listener.address()
  await new Promise(resolve => listener.close(resolve))
  return port
}

async function answers (port, program) {
  const until = Date.now() + START_MS
  while (Date.now() < until) {
    if (program.exitCode !== null) throw new Error(`${program.spawnargs[0]} ended with ${program.exitCode}`)
    const open = await new Promise(resolve => {
      const socket = net.connect(port, '127.0.0.1', () => { socket.destroy(); resolve(true) })
      socket.on('error', () => resolve(false))
    })
    if (open) return
    await new Promise(resolve => setTimeout(resolve, 20))
  }
  throw new Error(`nothing listens on port ${port} after ${START_MS} ms`)
}

// Whether a test, and all that it builds on, passed.
function passed (test, tests, results) {
  return results[test.id] === true &&
    (test.depends_on ?? []).every(id => !tests.has(id) || passed(tests.get(id), tests, results))
}

function detail (test, results) {
  const result = results[test.id]
  return result === true ? 'a test that it builds on failed' : `${result?.[0]}: ${result?.[1]}`
}

// The suite's tests and its runner, whichever way it is laid out.
async function open (folder) {
  const root = path.resolve(folder)
  const checkout = path.join(root, 'test-engine')
  const isCheckout = await stat(checkout).then(() => true, () => false)
  const engine = isCheckout ? checkout : root
  const module = file => import(pathToFileURL(file))
  const { default: suites } = await module(path.join(root, 'tests/index.mjs'))
  const { runTests, getResults } = await module(path.join(engine, 'client/runner.mjs'))
  const ownFetch = isCheckout
    ? []
    : [(await module(path.join(root, '../node-fetch/lib/index.mjs'))).default]
  return {
    copy: isCheckout ? 'checkout' : 'package',
    engine,
    suites,
    run: (chosen, base) => runTests(chosen, ...ownFetch, false, base, TESTS_AT_ONCE),
    results: getResults
  }
}

async function main () {
  const suite = await open(options.suite)
  const listed = new Map(await table(options.tests))
  const exceptions = new Map((await table('exceptions.tsv'))
    .filter(([, where]) => where === 'both' || where === suite.copy)
    .map(([id, , reason]) => [id, reason]))
  const tests = new Map()
  const chosen = suite.suites.map(suite => ({
    ...suite,
    tests: suite.tests.filter(test => listed.has(test.id) && (!options.id || options.id === test.id))
  }))
  for (const test of chosen.flatMap(suite => suite.tests)) {
    tests.set(test.id, test)
    test.dump = options.show
  }
  if (tests.size === 0) throw new Error('no listed test is in this suite')

  const folder = await mkdtemp(path.join(tmpdir(), 'lacquer-conformance-'))
  const programs = []
  const start = (program, args, env = {}) => {
    const child = spawn(program, args, {
      cwd: folder,
      env: { ...process.env, ...env },
      stdio: ['ignore', options.show ? 'inherit' : 'ignore', 'inherit']
    })
    programs.push(child)
    return child
  }
  try {
    const [backend, front] = [await freePort(), await freePort()]
    const server = start(process.execPath, ['--no-warnings', path.join(suite.engine, 'server/server.mjs')], {
      npm_config_protocol: 'http',
      npm_config_port: String(backend),
      npm_config_pidfile: path.join(folder, 'server.pid')
    })
    const lacquer = start(path.resolve(options.lacquer), [
      '--config', path.join(here, 'lacquer.toml'),
      '--backend', `127.0.0.1:${backend}`,
      '--listen', `127.0.0.1:${front}`
    ])
    await Promise.all([answers(backend, server), answers(front, lacquer)])
    await suite.run(chosen, `http://127.0.0.1:${front}`)
  } finally {
    for (const program of programs) program.kill()
    await rm(folder, { recursive: true })
  }

  const results = suite.results()
  const counts = {}
  let surprises = 0
  for (const test of tests.values()) {
    // Where list and copy disagree, the test has changed its mind since, and only tells.
    const kind = listed.get(test.id) === (test.kind ?? 'required') ? listed.get(test.id) : 'check'
    const count = counts[kind] ??= { passed: 0, of: 0 }
    count.of += 1
    const ok = passed(test, tests, results)
    if (ok) count.passed += 1
    if (kind === 'check') {
      if (options.show) console.log(`${ok ? 'yes' : 'no'}\t${test.id}`)
      continue
    }
    const exception = exceptions.get(test.id)
    if (ok === (exception !== undefined)) {
      surprises += 1
      console.log(ok ? `passes, but is in exceptions.tsv: ${test.id}` : `FAIL ${kind} ${test.id}: ${detail(test, results)}`)
    } else if (!ok) {
      console.log(`fails as known: ${kind} ${test.id}: ${exception}`)
    }
  }
  for (const [kind, { passed, of }] of Object.entries(counts)) {
    console.log(`${kind}: ${passed} of ${of} ${kind === 'check' ? 'answer yes' : 'pass'}`)
  }
  if (!options.id && tests.size < listed.size) {
    console.log(`${listed.size - tests.size} of the ${listed.size} listed tests are not in this copy of the suite`)
  }
  return surprises === 0 ? 0 : 1
}

process.exit(await main())
