<?php

declare(strict_types=1);

// The deployment scripts, run as the agent runs them, in a scratch root.

final class Host
{
    public readonly string $root;
    public readonly string $agent;
    /** @var array<string, string> */
    public array $environment;

    public function __construct()
    {
        $dir = Kit::folder();
        $this->root = "$dir/root";
        $this->agent = "$dir/deployment-root";
        mkdir($this->root);
        $this->environment = [
            'TINITTER_ROOT' => $this->root, 'AWS_EC2_METADATA_SERVICE_ENDPOINT' => 'http://127.0.0.1:1', 'TINITTER_WAIT' => '1',
            'DEPLOYMENT_GROUP_ID' => 'group-1', 'DEPLOYMENT_GROUP_NAME' => 'web', 'APPLICATION_NAME' => 'Tinitter',
        ];
    }

    /** Unpacks the bundle where the agent does and tells the scripts which deployment this is. */
    public function bundle(string $id, string $revision): void
    {
        $archive = "$this->agent/group-1/$id/deployment-archive";
        mkdir(dirname($archive), 0755, true);
        Kit::command(['cp', '-a', TINITTER, $archive]);
        file_put_contents("$archive/REVISION", "$revision\n");
        $this->environment['DEPLOYMENT_ID'] = $id;
    }

    /** What the agent's Install does, as far as the scripts can see. */
    public function install(): void
    {
        $archive = "$this->agent/group-1/{$this->environment['DEPLOYMENT_ID']}/deployment-archive";
        Kit::same([0, ''], Kit::command(['cp', '-rT', $archive, "$this->root/Tinitter"]));
        if (!is_dir("$this->agent/deployment-instructions")) {
            mkdir("$this->agent/deployment-instructions");
        }
        touch("$this->agent/deployment-instructions/group-1-cleanup");
    }

    /**
     * @param array<string, string> $more
     * @return array{int, string}
     */
    public function script(string $name, array $more = []): array
    {
        $archive = "$this->agent/group-1/{$this->environment['DEPLOYMENT_ID']}/deployment-archive";

        return Kit::command(["$archive/deploy/$name.sh"], $more + $this->environment);
    }

    /** @param array<string, string> $more */
    public function must(string $name, array $more = []): string
    {
        [$status, $output] = $this->script($name, $more + ['TINITTER_WAIT' => '60']);
        Kit::same(0, $status, "$name:\n$output");

        return $output;
    }

    /** @param array<string, string> $more */
    public function mustNot(string $name, string $why, array $more = []): void
    {
        [$status, $output] = $this->script($name, $more);
        Kit::same(1, $status, "$name:\n$output");
        Kit::contains($why, $output);
    }

    public function data(string $name): string
    {
        return "$this->root/var/lib/tinitter/$name";
    }

    public function tree(string $name): string
    {
        return "$this->root/Tinitter/$name";
    }
}

test('deploy: the appspec names scripts that exist, run, and pass the shell', function (): void {
    preg_match_all('/location: (\S+)/', file_get_contents(TINITTER . '/appspec.yml'), $found);
    Kit::same(5, count($found[1]));
    foreach ($found[1] as $script) {
        Kit::same([true, 0], [is_executable(TINITTER . "/$script"), Kit::command(['sh', '-n', TINITTER . "/$script"])[0]], $script);
    }
});
test('deploy: a first deployment, and a second that keeps the data', function (): void {
    $host = new Host();
    $host->bundle('d-ONE', 'v1');
    Kit::contains('nothing is installed yet', $host->must('application_stop'));
    Kit::contains('nothing at', $host->must('before_install'));
    $host->install();
    Kit::contains('created', $host->must('after_install'));
    $secret = file_get_contents($host->data('secret'));
    Kit::same([65, '600'], [strlen($secret), decoct(fileperms($host->data('secret')) & 0777)]);
    Kit::same(file_get_contents($host->tree('config.php.sample')), file_get_contents($host->tree('config.php')));
    Kit::same(file_get_contents($host->tree('htdocs/.htaccess.sample')), file_get_contents($host->tree('htdocs/.htaccess')));
    Kit::same('640', decoct(fileperms($host->tree('config.local.php')) & 0777));
    Kit::contains("deployment=d-ONE\napplication=Tinitter\ngroup=web\n", file_get_contents($host->tree('DEPLOYED')));
    if (posix_getuid() === 0) {
        Kit::same([true, true, false], [fileowner($host->tree('htdocs')) > 0, fileowner($host->data('db/tinitter.sqlite3')) > 0, fileowner($host->data('.')) > 0], 'owners');
    }
    (new PDO('sqlite:' . $host->data('db/tinitter.sqlite3')))->exec("INSERT INTO posts (name, body, created_at) VALUES ('n', 'kept', 1)");

    $host->bundle('d-TWO', 'v2');
    $host->must('application_stop');
    Kit::same(true, is_file($host->data('maintenance')));
    Kit::contains("own; it serves until it is replaced", $host->must('before_install'));
    $host->install();
    Kit::contains('has its tables', $host->must('after_install'));
    Kit::same($secret, file_get_contents($host->data('secret')));
    Kit::contains('deployment=d-TWO', file_get_contents($host->tree('DEPLOYED')));
    $kept = (new PDO('sqlite:' . $host->data('db/tinitter.sqlite3')))->query('SELECT body FROM posts')->fetchColumn();
    Kit::same('kept', $kept);
});
test('deploy: every script may run twice', function (): void {
    $host = new Host();
    $host->bundle('d-ONE', 'v1');
    $host->install();
    foreach (['application_stop', 'before_install', 'after_install', 'after_install', 'before_install', 'application_stop', 'application_stop'] as $script) {
        $host->must($script);
    }
});
test('deploy: a tree from elsewhere is moved aside whole', function (): void {
    $host = new Host();
    $host->bundle('d-ONE', 'v1');
    mkdir($host->tree('htdocs'), 0755, true);
    file_put_contents($host->tree('tinitter.db'), 'precious');
    Kit::contains('moved to', $host->must('before_install'));
    Kit::same([false, 'precious'], [file_exists($host->tree('')), file_get_contents("$host->root/Tinitter.before-d-ONE/tinitter.db")]);
    mkdir($host->tree('htdocs'), 0755, true);
    touch($host->tree('htdocs/index.html'));
    $host->mustNot('before_install', 'is taken');
    Kit::same(true, is_dir($host->tree('htdocs')));
});
test('deploy: an empty folder and a dangling link in the place of the tree', function (): void {
    $host = new Host();
    $host->bundle('d-ONE', 'v1');
    mkdir("$host->root/Tinitter");
    Kit::contains('holds no file', $host->must('before_install'));
    mkdir($host->tree('htdocs')); // as `slipway provision` makes it
    Kit::contains('holds no file', $host->must('before_install'));
    rmdir($host->tree('htdocs'));
    rmdir("$host->root/Tinitter");
    symlink('/nowhere', "$host->root/Tinitter");
    Kit::contains('moved to', $host->must('before_install'));
    Kit::same(true, is_link("$host->root/Tinitter.before-d-ONE"));
});
test('deploy: settings come from the environment, then from the file, and are never run', function (): void {
    $host = new Host();
    $host->bundle('d-ONE', 'v1');
    $host->install();
    mkdir("$host->root/etc/slipway", 0755, true);
    $marker = "$host->root/was-run";
    file_put_contents("$host->root/etc/slipway/tinitter.env", implode("\n", [
        '# a comment', 'TINITTER_TIMEZONE="Europe/Paris"', "TINITTER_SECRET='" . str_repeat('s', 40) . "'", 'PATH=/nowhere',
        "TINITTER_DB_PASSWORD=it's \"quoted\" \$(touch $marker) `touch $marker`; touch $marker", "TINITTER_X\$(touch $marker)=1",
        'TINITTER_DB_USER=from the file', 'no equals sign', '', 'TINITTER_PREVIOUS_SECRET=' . str_repeat('p', 32),
    ]));
    $host->must('after_install', ['TINITTER_DB_USER' => 'from the environment']);
    $local = require $host->tree('config.local.php');
    Kit::same(['Europe/Paris', str_repeat('s', 40), str_repeat('p', 32), 'from the environment'], [$local['timezone'], $local['secret'], $local['previous_secret'], $local['database_user']]);
    Kit::same("it's \"quoted\" \$(touch $marker) `touch $marker`; touch $marker", $local['database_password']);
    Kit::same([false, false], [file_exists($marker), file_exists($host->data('secret'))]);
});
test('deploy: AfterInstall says what is wrong', function (): void {
    $host = new Host();
    $host->bundle('d-ONE', 'v1');
    $host->mustNot('after_install', 'is not installed at');
    $host->install();
    $host->mustNot('after_install', "'dsn' must begin with", ['TINITTER_DSN' => 'oracle:x']);
    $host->mustNot('after_install', '32 characters', ['TINITTER_SECRET' => 'short']);
    $host->mustNot('after_install', 'setup database', ['TINITTER_DSN' => 'sqlite:/nowhere/at/all.sqlite3']);
    Kit::same(false, file_exists($host->tree('DEPLOYED')), 'a deployment that failed is not named on the page');
});
test('deploy: AfterInstall notes the instance id with the boot', function (): void {
    $host = new Host();
    $host->bundle('d-ONE', 'v1');
    $host->install();
    $metadata = Kit::serve(__DIR__, __DIR__ . '/metadata.php');
    Kit::contains('this is instance i-0123456789abcdef0', $host->must('after_install', ['AWS_EC2_METADATA_SERVICE_ENDPOINT' => $metadata]));
    Kit::same("i-0123456789abcdef0\n" . file_get_contents('/proc/sys/kernel/random/boot_id'), file_get_contents($host->data('instance-id')));
    $host->must('after_install');
    Kit::same(false, file_exists($host->data('instance-id')), 'a note that nobody confirms goes');
});
test('deploy: ApplicationStart tests the configuration, then reloads', function (): void {
    $host = new Host();
    $host->bundle('d-ONE', 'v1');
    mkdir(dirname($host->data('maintenance')), 0755, true);
    touch($host->data('maintenance'));
    $fake = "$host->root/httpd";
    file_put_contents($fake, "#!/bin/sh\necho \"\$@\" >>$host->root/calls\n[ \"\$3\" != -t ] || [ ! -e $host->root/broken ]\n");
    chmod($fake, 0755);
    $host->must('application_start', ['TINITTER_HTTPD' => "$fake -f own.conf"]);
    Kit::same("-f own.conf -t\n-f own.conf -k graceful\n", file_get_contents("$host->root/calls"));
    Kit::same(false, file_exists($host->data('maintenance')));
    touch("$host->root/broken");
    $host->mustNot('application_start', 'is not valid', ['TINITTER_HTTPD' => "$fake -f own.conf"]);
    Kit::same(3, count(file("$host->root/calls")), 'a broken configuration must not be loaded');
});
test('deploy: ValidateService believes only the deployment that it is about', function (): void {
    $host = new Host();
    $host->bundle('d-ONE', 'v1');
    $host->install();
    $host->must('after_install');
    Kit::command(['chmod', '-R', 'a+rwX', $host->root]);
    $site = Kit::serve($host->tree('htdocs'), $host->tree('htdocs/index.php'));
    Kit::contains('is 200, serving d-ONE', $host->must('validate_service', ['TINITTER_URL' => "$site/"]));
    $host->mustNot('validate_service', 'serves deployment d-ONE, not d-OTHER', ['TINITTER_URL' => $site, 'DEPLOYMENT_ID' => 'd-OTHER']);
    unlink($host->data('db/tinitter.sqlite3'));
    $host->mustNot('validate_service', 'answered 503: unhealthy: the database does not answer', ['TINITTER_URL' => $site]);
    $host->mustNot('validate_service', 'gave up after 1 s', ['TINITTER_URL' => 'http://127.0.0.1:1']);
});
test('deploy: the whole chain with an Apache of its own', function (): void {
    if (Kit::command(['sh', '-c', 'PATH=$PATH:/usr/sbin; command -v apache2 || command -v httpd'])[0] !== 0) {
        echo "NOTE no Apache here: the chain with a real one was not run (apt-get install apache2 libapache2-mod-php)\n";

        return;
    }
    $host = new Host();
    $free = stream_socket_server('tcp://127.0.0.1:0');
    $port = substr(strrchr(stream_socket_get_name($free, false), ':'), 1);
    fclose($free);
    $folder = Kit::folder();
    [$status, $command] = Kit::command([__DIR__ . '/private-apache.sh', $folder, $port, $host->tree('htdocs')]);
    Kit::same(0, $status, $command);
    $host->environment = ['TINITTER_HTTPD' => trim($command), 'TINITTER_URL' => "http://127.0.0.1:$port"] + $host->environment;
    Kit::after(static function () use ($command, $folder): void {
        Kit::command(['sh', '-c', 'PATH=$PATH:/usr/sbin; ' . trim($command) . ' -k stop']);
        for ($i = 0; $i < 1500 && file_exists("$folder/httpd.pid"); $i++) {
            usleep(20_000);
        }
    });
    foreach (['d-ONE' => 'v1', 'd-TWO' => 'v2'] as $id => $revision) {
        $host->bundle($id, $revision);
        foreach (['application_stop', 'before_install'] as $script) {
            $host->must($script);
        }
        $host->install();
        foreach (['after_install', 'application_start', 'validate_service'] as $script) {
            $host->must($script);
        }
        $page = Kit::http('GET', "http://127.0.0.1:$port/")[2];
        Kit::contains('<dd id="revision">' . $revision . '</dd>', $page);
        Kit::contains('<dd id="deployment">' . $id . '</dd>', $page);
    }
    $site = "http://127.0.0.1:$port";
    [, $headers, $page] = Kit::http('GET', "$site/");
    preg_match('/name="token" value="([^"]+)"/', $page, $token);
    $cookie = 'Cookie: ' . strtok($headers['set-cookie'][0], ';');
    Kit::same(303, Kit::http('POST', "$site/posts", [$cookie], ['token' => $token[1], 'name' => 'n', 'body' => 'through Apache'])[0]);
    Kit::contains('through Apache', Kit::http('GET', "$site/posts/1")[2]);
    foreach (['/.htaccess' => 403, '/.htaccess.sample' => 403, '/assets/' => 404, '/nowhere' => 404, '/health' => 200, '/config.php' => 404] as $path => $want) {
        Kit::same($want, Kit::http('GET', $site . $path)[0], $path);
    }
});
