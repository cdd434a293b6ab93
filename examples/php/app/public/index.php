<?php

declare(strict_types=1);

require __DIR__ . '/../src/pages.php';

$path = (string) parse_url($_SERVER['REQUEST_URI'], PHP_URL_PATH);
[$status, $type, $body] = page($path, (string) getenv('GREETING'), version());

http_response_code($status);
header("Content-Type: $type; charset=utf-8");
header('X-Release: ' . version());
echo $body;
