<?php

/* The application's own tests: run by the image gate, in the image. An exit code other than 0 keeps it from traffic. */

declare(strict_types=1);

require __DIR__ . '/../src/pages.php';

/** Ends the run with a message if something is not so. */
function expect(bool $is_so, string $what): void
{
    if (!$is_so) {
        fwrite(STDERR, "failed: $what\n");
        exit(1);
    }
}

expect(preg_match('/^\d+$/', version()) === 1, 'the version is a number');

[$status, , $body] = page('/', 'hi', '7');
expect($status === 200, 'the first page is there');
expect(str_contains($body, 'hi, world') && str_contains($body, 'version 7'), 'it greets, and names its version');

[, , $body] = page('/', '<b>', '7');
expect(str_contains($body, '&lt;b&gt;, world'), 'a greeting is text, whatever is in it');

expect(page('/nowhere', '', '')[0] === 404, 'what is not there is not found');

echo "all is well\n";
