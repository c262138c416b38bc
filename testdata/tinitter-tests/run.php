<?php

// The sample application's own tests: php testdata/tinitter-tests/run.php [part of a name]
// Prints what failed and "N passed, N failed"; exits 1 when anything failed.

declare(strict_types=1);

error_reporting(E_ALL);
set_error_handler(static function (int $level, string $message, string $file, int $line): bool {
    if ((error_reporting() & $level) === 0) {
        return false; // silenced with @
    }
    throw new ErrorException($message, 0, $level, $file, $line);
});
ini_set('error_log', '/dev/null');
mb_internal_encoding('UTF-8');

const TINITTER = __DIR__ . '/../tinitter';

require TINITTER . '/src/autoload.php';
require __DIR__ . '/kit.php';

foreach (['pdo_sqlite', 'mbstring'] as $extension) {
    if (!extension_loaded($extension)) {
        fwrite(STDERR, "the PHP extension $extension is needed: apt-get install php-cli php-sqlite3 php-mbstring\n");
        exit(1);
    }
}
foreach (glob(__DIR__ . '/*_test.php') as $file) {
    require $file;
}
exit(Kit::run($argv[1] ?? ''));
