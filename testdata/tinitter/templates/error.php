  <div class="card failure">
    <p class="code"><?= $e($status) ?></p>
    <h1><?= $e($message) ?></h1>
    <p><a href="/">Back to the timeline</a></p>
  </div>
