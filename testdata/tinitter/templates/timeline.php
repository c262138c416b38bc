<?php
use Tinitter\Draft;

$here = $name === null ? '/?page=' : '/author?name=' . rawurlencode($name) . '&page=';
?>
<?php if ($notice !== '') { ?>
  <p class="note<?= $alert ? ' bad' : ' good' ?>" role="<?= $alert ? 'alert' : 'status' ?>"><?= $e($notice) ?></p>
<?php } ?>
<?php if ($name === null) { ?>
  <form class="card compose" method="post" action="/posts" novalidate>
    <input type="hidden" name="token" value="<?= $e($token) ?>">
    <div class="field">
      <label for="body">What is on your mind?</label>
      <textarea id="body" name="body" rows="3" maxlength="<?= Draft::BODY_MAX ?>" data-count="left" required<?= isset($draft->errors['body']) ? ' aria-invalid="true" aria-describedby="body-error"' : '' ?>><?= "\n" . $e($draft->body) ?></textarea>
<?php if (isset($draft->errors['body'])) { ?>
      <p class="error" id="body-error"><?= $e($draft->errors['body']) ?></p>
<?php } ?>
    </div>
    <div class="row">
      <div class="field grow">
        <label for="name" class="quiet">Your name</label>
        <input id="name" name="name" type="text" value="<?= $e($draft->name) ?>" maxlength="<?= Draft::NAME_MAX ?>" autocomplete="nickname" placeholder="Your name" required<?= isset($draft->errors['name']) ? ' aria-invalid="true" aria-describedby="name-error"' : '' ?>>
<?php if (isset($draft->errors['name'])) { ?>
        <p class="error" id="name-error"><?= $e($draft->errors['name']) ?></p>
<?php } ?>
      </div>
      <span id="left" class="left" aria-live="polite"></span>
      <button type="submit">Post</button>
    </div>
  </form>
<?php } else { ?>
  <div class="heading">
    <h1><?= $e($name) ?></h1>
    <p><?= $e($pager->total) ?> <?= $pager->total === 1 ? 'post' : 'posts' ?> · <a href="/">All posts</a></p>
  </div>
<?php } ?>
<?php if ($posts === []) { ?>
  <p class="empty">Nothing here yet.<?= $name === null ? ' Be the first to say something.' : '' ?></p>
<?php } else { ?>
  <ol class="posts" reversed>
<?php foreach ($posts as $post) { ?>
    <li><?= $render('entry', ['post' => $post]) ?></li>
<?php } ?>
  </ol>
<?php } ?>
<?php if ($pager->pages > 1) { ?>
  <nav class="pager" aria-label="Pages">
<?php if ($pager->newer() !== null) { ?>
    <a rel="prev" href="<?= $e($here . $pager->newer()) ?>">← Newer</a>
<?php } else { ?>
    <span></span>
<?php } ?>
    <span>Page <?= $e($pager->page) ?> of <?= $e($pager->pages) ?></span>
<?php if ($pager->older() !== null) { ?>
    <a rel="next" href="<?= $e($here . $pager->older()) ?>">Older →</a>
<?php } else { ?>
    <span></span>
<?php } ?>
  </nav>
<?php } ?>
