<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title><?= $e($title) ?> · Tinitter</title>
<link rel="icon" href="/assets/icon.svg" type="image/svg+xml">
<link rel="stylesheet" href="/assets/style.css?v=<?= $e($assets) ?>">
<script src="/assets/app.js?v=<?= $e($assets) ?>" defer></script>
</head>
<body>
<header class="top">
  <div class="wrap">
    <a class="brand" href="/"><img src="/assets/icon.svg" alt="" width="32" height="32"><span>Tinitter</span></a>
    <p class="served" title="The instance that answered this request">served by <code id="instance"><?= $e($instance) ?></code></p>
  </div>
</header>
<main class="wrap">
<?php if ($maintenance) { ?>
  <p class="note" role="status">A new version is being deployed. You can keep reading and posting.</p>
<?php } ?>
<?= $content ?>
</main>
<footer class="wrap bottom">
  <dl>
    <div><dt>Revision</dt><dd id="revision"><?= $e($release->revision) ?></dd></div>
<?php if ($release->deployment !== '') { ?>
    <div><dt>Deployment</dt><dd id="deployment"><?= $e($release->deployment) ?></dd></div>
<?php } if ($release->group !== '') { ?>
    <div><dt>Group</dt><dd><?= $e($release->group) ?></dd></div>
<?php } if ($release->at > 0) { ?>
    <div><dt>Live since</dt><dd><time datetime="<?= $e($stamp($release->at)) ?>"><?= $e($when($release->at)) ?></time></dd></div>
<?php } ?>
    <div><dt>Instance</dt><dd><?= $e($instance) ?></dd></div>
  </dl>
</footer>
</body>
</html>
