<?php

// A metadata service, version 2 only, for php -S.

declare(strict_types=1);

$path = $_SERVER['REQUEST_URI'];
if ($_SERVER['REQUEST_METHOD'] === 'PUT' && $path === '/latest/api/token' && isset($_SERVER['HTTP_X_AWS_EC2_METADATA_TOKEN_TTL_SECONDS'])) {
    http_response_code((int) (getenv('TOKEN_STATUS') ?: 200));
    echo 'token-of-the-test';
} elseif ($path === '/latest/meta-data/instance-id' && ($_SERVER['HTTP_X_AWS_EC2_METADATA_TOKEN'] ?? '') === 'token-of-the-test') {
    $id = getenv('ID');
    echo $id === false ? 'i-0123456789abcdef0' : $id;
} else {
    http_response_code(401);
}
