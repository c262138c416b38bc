<?php

// The front controller: every request that is not a file ends here.

declare(strict_types=1);

if (PHP_SAPI === 'cli-server') {
    $file = realpath(__DIR__ . (string) parse_url($_SERVER['REQUEST_URI'], PHP_URL_PATH));
    if ($file !== false && is_file($file) && str_starts_with($file, __DIR__ . '/assets/')) {
        return false;
    }
}

require dirname(__DIR__) . '/src/autoload.php';

Tinitter\Site::serve(dirname(__DIR__));
