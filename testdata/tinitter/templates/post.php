  <div class="single"><?= $render('entry', ['post' => $post]) ?></div>
  <p class="back"><a href="/">← All posts</a></p>
