<?php

declare(strict_types=1);

use Tinitter\App;
use Tinitter\Config;
use Tinitter\ConfigError;
use Tinitter\Csrf;
use Tinitter\Draft;
use Tinitter\HttpError;
use Tinitter\Pager;
use Tinitter\Release;
use Tinitter\Request;
use Tinitter\Response;
use Tinitter\View;

$echo = static fn (string $word): Closure => static fn (Request $r, array $in): Response => Response::text($word . json_encode($in));
$app = static fn (): App => (new App())
    ->get('/', $echo('home'))->get('/u/{name}', $echo('user'))->get('/posts/{id:[0-9]+}', $echo('post'))->post('/posts', $echo('add'));

test('router: a pattern leads to its handler with the placeholders', function () use ($app): void {
    foreach ([['GET', '/', "home[]\n"], ['GET', '/u/太郎', "user{\"name\":\"\\u592a\\u90ce\"}\n"], ['GET', '/posts/12', "post{\"id\":\"12\"}\n"], ['POST', '/posts', "add[]\n"]] as [$method, $path, $want]) {
        Kit::same($want, $app()->handle(new Request($method, $path))->body, "$method $path");
    }
});
test('router: HEAD is answered as GET', fn () => Kit::same("home[]\n", $app()->handle(new Request('HEAD', '/'))->body));
test('router: what fits no pattern is 404', function () use ($app): void {
    foreach (['/nothing', '/posts/12x', '/posts/', '/u/', '/u/a/b', "/posts/1\n", "/u/\xff"] as $path) {
        try {
            $app()->handle(new Request('GET', $path));
            throw new RuntimeException(json_encode($path, JSON_INVALID_UTF8_SUBSTITUTE) . ' was answered');
        } catch (HttpError $problem) {
            Kit::same(404, $problem->status);
        }
    }
});
test('router: a known address with another method is 405 and says what it takes', function () use ($app): void {
    foreach ([['POST', '/', 'GET, HEAD'], ['GET', '/posts', 'POST'], ['DELETE', '/posts/1', 'GET, HEAD']] as [$method, $path, $allow]) {
        try {
            $app()->handle(new Request($method, $path));
            throw new RuntimeException("$method $path was answered");
        } catch (HttpError $problem) {
            Kit::same([405, $allow], [$problem->status, $problem->headers['Allow']]);
        }
    }
});
test('router: dots and other signs of a pattern mean themselves', function () use ($echo): void {
    $app = (new App())->get('/a.b+c', $echo('x'));
    Kit::same("x[]\n", $app->handle(new Request('GET', '/a.b+c'))->body);
    Kit::throws(HttpError::class, 'nothing at this address', fn () => $app->handle(new Request('GET', '/aXbbc')));
});

test('request: lists where text is expected are read as empty', function (): void {
    $request = new Request('POST', '/', ['page' => ['1']], ['name' => ['x'], 'body' => 'y'], ['c' => ['z']]);
    Kit::same(['', 'y', '', '', ''], [$request->field('name'), $request->field('body'), $request->query('page'), $request->cookie('c'), $request->field('no')]);
});
test('request: the balancer\'s word on https counts', function (): void {
    foreach ([[[], false], [['HTTPS' => 'on'], true], [['HTTPS' => 'off'], false], [['HTTP_X_FORWARDED_PROTO' => 'https'], true], [['HTTP_X_FORWARDED_PROTO' => 'http'], false]] as [$server, $want]) {
        Kit::same($want, (new Request('GET', '/', [], [], [], $server))->secure(), json_encode($server));
    }
});

test('escape: every sign that means something in HTML', function (): void {
    Kit::same('&lt;script&gt;&quot;&apos;&amp;', View::escape('<script>"\'&'));
    Kit::same("a\u{FFFD}b", View::escape("a\xffb"));
});

$csrf = static fn (string ...$secrets): Csrf => new Csrf($secrets === [] ? [Kit::SECRET] : $secrets, 600);
$me = str_repeat('ab', 16);
test('csrf: a token is good until it expires', function () use ($csrf, $me): void {
    $token = $csrf()->issue($me, 1000);
    Kit::same(null, $csrf()->refuse($token, $me, 1000));
    Kit::same(null, $csrf()->refuse($token, $me, 1600));
});
test('csrf: expired', function () use ($csrf, $me): void {
    Kit::contains('open for too long', (string) $csrf()->refuse($csrf()->issue($me, 1000), $me, 1601));
});
test('csrf: another host with the same secret accepts it', function () use ($me): void {
    Kit::same(null, (new Csrf([Kit::SECRET], 60))->refuse((new Csrf([Kit::SECRET], 600))->issue($me, 1000), $me, 1100));
});
test('csrf: another secret, another browser, a longer expiry, rubbish', function () use ($csrf, $me): void {
    $token = $csrf()->issue($me, 1000);
    [$expiry, $mac] = explode('.', $token);
    $forged = [
        'another secret' => [$csrf(str_repeat('x', 40))->issue($me, 1000), $me],
        'another browser' => [$token, str_repeat('cd', 16)],
        'no cookie' => [$token, ''],
        'a cookie of another shape' => [$csrf()->issue('x', 1000), 'x'],
        'a later expiry' => [((int) $expiry + 1) . ".$mac", $me],
        'a leading zero' => ["0$token", $me],
        'empty' => ['', $me],
        'no mac' => ["$expiry.", $me],
        'upper case' => [strtoupper($token), $me],
        'a newline' => ["$token\n", $me],
        'one bit off' => [substr($token, 0, -1) . ($token[-1] === '0' ? '1' : '0'), $me],
    ];
    foreach ($forged as $what => [$bad, $cookie]) {
        Kit::contains('did not come from this site', $what . ': ' . $csrf()->refuse($bad, $cookie, 1000));
    }
});
test('csrf: while a secret is replaced, the previous one still counts', function () use ($csrf, $me): void {
    $old = str_repeat('o', 40);
    Kit::same(null, $csrf(Kit::SECRET, $old)->refuse($csrf($old)->issue($me, 1000), $me, 1000));
    Kit::same(null, $csrf($old, Kit::SECRET)->refuse($csrf(Kit::SECRET, $old)->issue($me, 1000), $me, 1000));
});
test('csrf: each visitor is another', function (): void {
    $one = Csrf::visitor();
    Kit::same([true, false], [Csrf::isVisitor($one), $one === Csrf::visitor()]);
});

test('pager: boundaries', function (): void {
    // total, per page, asked → page, pages, offset, newer, older
    foreach ([
        [0, 10, '', 1, 1, 0, null, null], [1, 10, '1', 1, 1, 0, null, null], [10, 10, '', 1, 1, 0, null, null],
        [11, 10, '1', 1, 2, 0, null, 2], [11, 10, '2', 2, 2, 10, 1, null], [20, 10, '2', 2, 2, 10, 1, null],
        [21, 10, '2', 2, 3, 10, 1, 3], [21, 10, '3', 3, 3, 20, 2, null], [21, 10, '4', 3, 3, 20, 2, null],
        [21, 10, '0', 1, 3, 0, null, 2], [21, 10, '-1', 1, 3, 0, null, 2], [21, 10, 'x', 1, 3, 0, null, 2],
        [21, 10, '2.5', 1, 3, 0, null, 2], [21, 10, "2\n", 1, 3, 0, null, 2], [21, 10, '99999999999999999999999', 3, 3, 20, 2, null],
        [3, 1, '2', 2, 3, 1, 1, 3], [-5, 10, '', 1, 1, 0, null, null],
    ] as [$total, $per, $asked, $page, $pages, $offset, $newer, $older]) {
        $p = new Pager($total, $per, $asked);
        Kit::same([$page, $pages, $offset, $newer, $older], [$p->page, $p->pages, $p->offset, $p->newer(), $p->older()], "$total by $per, page " . json_encode($asked));
    }
});

test('draft: lengths are counted in characters', function (): void {
    foreach ([
        ['あ', 'い', []], [str_repeat('名', 30), str_repeat('本', 280), []],
        [str_repeat('名', 31), 'x', ['name' => 'At most 30 characters; this has 31.']],
        ['x', str_repeat('本', 281), ['body' => 'At most 280 characters; this has 281.']],
        ['', '', ['name' => 'Please give a name.', 'body' => 'Please write something.']],
        [" \t\u{3000}", "\r\n\u{200B}\u{00A0}", ['name' => 'Please give a name.', 'body' => 'Please write something.']],
        ["a\0b", 'x', ['name' => 'Control characters are not allowed.']],
        ['x', "a\x1b[31m", ['body' => 'Control characters are not allowed.']],
        ["a\u{202E}b", 'x', ['name' => 'Control characters are not allowed.']],
        ["two\nlines", 'x', ['name' => 'Control characters are not allowed.']],
        ['x', "tab\tand\nline", []],
        ['0', '0', []],
    ] as [$name, $body, $want]) {
        Kit::same($want, Draft::from($name, $body)->errors, json_encode([$name, $body]));
    }
});
test('draft: bytes that are not UTF-8 are refused and not shown again', function (): void {
    foreach (["\xff", "abc\xc3", "\xed\xa0\x80", "\xc0\xaf"] as $bytes) {
        $draft = Draft::from($bytes, $bytes);
        Kit::same(['name' => 'This is not valid UTF-8 text.', 'body' => 'This is not valid UTF-8 text.'], $draft->errors);
        Kit::same(['', ''], [$draft->name, $draft->body]);
    }
});
test('draft: space around is taken off and line ends are made one kind', function (): void {
    $draft = Draft::from("\u{3000}太郎 ", "\r\none\r\ntwo\rthree  \n");
    Kit::same(['太郎', "one\ntwo\nthree"], [$draft->name, $draft->body]);
});

$good = ['dsn' => 'sqlite:/x', 'secret' => Kit::SECRET, 'form_lifetime' => 60, 'per_page' => 10, 'data_dir' => '/x/'];
test('config: a good one', function () use ($good): void {
    $config = Config::fromArray($good);
    Kit::same(['/x', 'Asia/Tokyo', ''], [$config->dataDir, $config->timeZone, $config->metadataEndpoint]);
});
test('config: each mistake names the file and the key', function () use ($good): void {
    foreach ([
        [['dsn' => 'pgsql:x'], "c.php: 'dsn' must begin with sqlite: or mysql:"], [['dsn' => null], "'dsn' must be a string"],
        [['secret' => ''], "'secret' is empty"], [['secret' => 'short'], '32 characters'], [['previous_secret' => 'short'], '32 characters'],
        [['per_page' => 0], "'per_page' must be a whole number from 1 to 100"], [['per_page' => '10'], "'per_page'"], [['form_lifetime' => null], "'form_lifetime'"],
        [['timezone' => 'Asia/Nowhere'], 'Asia/Nowhere is not known'], [['data_dir' => 5], "'data_dir' must be a string"],
    ] as [$change, $want]) {
        Kit::throws(ConfigError::class, $want, fn () => Config::fromArray($change + $good, 'c.php'));
    }
});
test('config: a file that is missing or returns nothing', function (): void {
    $dir = Kit::folder();
    Kit::throws(ConfigError::class, 'copy config.php.sample', fn () => Config::load("$dir/config.php"));
    file_put_contents("$dir/config.php", '<?php return 5;');
    Kit::throws(ConfigError::class, 'returns no array', fn () => Config::load("$dir/config.php"));
});
test('config: the sample lacks nothing but the secret', function (): void {
    $dir = Kit::folder();
    copy(TINITTER . '/config.php.sample', "$dir/config.php");
    Kit::throws(ConfigError::class, "'secret' is empty", fn () => Config::load("$dir/config.php"));
    file_put_contents("$dir/config.local.php", '<?php return ["secret" => "' . Kit::SECRET . '", "dsn" => "mysql:host=db"];');
    Kit::same('mysql:host=db', Config::load("$dir/config.php")->dsn);
});

test('release: the label alone, then with the note of the deployment', function (): void {
    $dir = Kit::folder();
    Kit::same('unlabelled', Release::read($dir)->revision);
    file_put_contents("$dir/REVISION", "v2\r\nX-Evil: 1\n");
    file_put_contents("$dir/DEPLOYED", "deployment=d-ABC=1\ngroup=web\nat=1780000000\nrubbish\n");
    $release = Release::read($dir);
    Kit::same(['v2X-Evil: 1', 'd-ABC=1', 'web', 1780000000], [$release->revision, $release->deployment, $release->group, $release->at]);
});
