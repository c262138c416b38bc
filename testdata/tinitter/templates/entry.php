<article class="card post">
  <span class="face hue<?= $e(crc32($post->name) % 8) ?>" aria-hidden="true"><?= $e(mb_strtoupper(mb_substr($post->name, 0, 1))) ?></span>
  <div class="text">
    <header>
      <a class="who" href="/author?name=<?= $e(rawurlencode($post->name)) ?>"><?= $e($post->name) ?></a>
      <a class="when" href="/posts/<?= $e($post->id) ?>"><time datetime="<?= $e($stamp($post->createdAt)) ?>"><?= $e($when($post->createdAt)) ?></time></a>
    </header>
    <p class="words"><?= $e($post->body) ?></p>
    <p class="via">via <?= $e($post->host) ?></p>
  </div>
</article>
