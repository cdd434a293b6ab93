<?php

declare(strict_types=1);

/** Returns the version of the application, which came into the image with it. */
function version(): string
{
    return trim((string) file_get_contents(__DIR__ . '/../VERSION'));
}

/**
 * Returns status, content type and body of a page.
 *
 * @return array{int, string, string}
 */
function page(string $path, string $greeting, string $version): array
{
    return match ($path) {
        '/healthz' => [200, 'text/plain', "ok\n"],
        '/' => [200, 'text/html', document("$greeting, world", "<p>This is version $version.</p>")],
        '/report' => [200, 'text/html', document('Report', '<p>The sum is ' . report() . '.</p>')],
        default => [404, 'text/html', document('Not here', '<p>There is no such page.</p>')],
    };
}

/** Returns what takes a while to find out: for two seconds, in which an instance may be told to end. */
function report(): int
{
    usleep(2_000_000);

    return array_sum(range(1, 100));
}

/** Returns a page of HTML; the title is text, the content HTML. */
function document(string $title, string $content): string
{
    $title = htmlspecialchars($title);

    return <<<HTML
        <!doctype html>
        <html lang="en">
        <head><meta charset="utf-8"><title>$title</title><link rel="stylesheet" href="/style.css"></head>
        <body><h1>$title</h1>$content</body>
        </html>

        HTML;
}
