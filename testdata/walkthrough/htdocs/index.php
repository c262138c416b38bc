<?php
require __DIR__ . '/../config.php';
$db = new PDO(DSN);
foreach ($db->query('SELECT body FROM posts ORDER BY id DESC') as $post) {
    echo '<p>', htmlspecialchars($post['body']), "</p>\n";
}
