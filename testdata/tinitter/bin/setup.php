<?php

// Run by the deployment scripts:
//   php bin/setup.php config    writes config.local.php from the environment (TINITTER_*)
//   php bin/setup.php database  creates what is missing of the configured database

declare(strict_types=1);

require dirname(__DIR__) . '/src/autoload.php';

use Tinitter\Config;
use Tinitter\Database;

$root = dirname(__DIR__);
$settings = [
    'dsn' => 'TINITTER_DSN', 'database_user' => 'TINITTER_DB_USER', 'database_password' => 'TINITTER_DB_PASSWORD',
    'secret' => 'TINITTER_SECRET', 'previous_secret' => 'TINITTER_PREVIOUS_SECRET', 'timezone' => 'TINITTER_TIMEZONE',
    'metadata_endpoint' => 'AWS_EC2_METADATA_SERVICE_ENDPOINT', 'data_dir' => 'TINITTER_DATA',
];

try {
    switch ($argv[1] ?? '') {
        case 'config':
            $values = [];
            foreach ($settings as $key => $variable) {
                $value = getenv($variable);
                if ($value !== false && $value !== '') {
                    $values[$key] = $value;
                }
            }
            $text = "<?php\n\n// Written by deploy/after_install.sh; the next deployment writes it again.\n\nreturn " . var_export($values, true) . ";\n";
            umask(0027);
            $temporary = "$root/config.local.php." . getmypid();
            if (file_put_contents($temporary, $text) !== strlen($text) || !rename($temporary, "$root/config.local.php")) {
                throw new RuntimeException("write $root/config.local.php");
            }
            Config::load("$root/config.php");
            break;
        case 'database':
            Database::create(Config::load("$root/config.php"), "$root/schema");
            Database::check(Config::load("$root/config.php"));
            break;
        default:
            throw new RuntimeException('usage: php bin/setup.php config|database');
    }
} catch (Throwable $problem) {
    fwrite(STDERR, 'setup ' . ($argv[1] ?? '') . ': ' . $problem->getMessage() . "\n");
    exit(1);
}
