"""Folders as people have them: a name, their files, and what `anew init` is to make of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Shape:
    """Files by path; what is found, the shell line of the command (or its words), the health path and the packages."""

    name: str
    files: Mapping[str, str]
    kind: str
    found: str
    command: str
    health: str = "/"
    packages: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()  # words that notes contain
    build: tuple[str, ...] = ()  # words that build steps contain
    flags: Mapping[str, str] = field(default_factory=dict)

    def write(self, folder: Path) -> Path:
        root = folder / self.name
        for name, text in self.files.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text, "utf-8")
        return root


VENV = ("python3", "python3-venv")
NPM = ("ca-certificates", "nodejs", "npm")
GUNICORN = "exec /srv/venv/bin/gunicorn --bind $HOST:$PORT --threads 8 --graceful-timeout 8"
FLASK = "from flask import Flask\n\napp = Flask(__name__)\n\n@app.route('/')\ndef hello():\n    return 'hi'\n"
PYPROJECT = '[project]\nname = "x"\nversion = "1"\ndependencies = ["fastapi[standard]>=0.110"]\n'
MANAGE = "import os\nos.environ.setdefault('DJANGO_SETTINGS_MODULE', 'site1.settings')\n"
SETTINGS = (
    "DEBUG = True\nALLOWED_HOSTS = []\nROOT_URLCONF = 'site1.urls'\nWSGI_APPLICATION = 'site1.wsgi.application'\n"
)
URLS = "urlpatterns = [\n    path('admin/', admin.site.urls),\n%s]\n"
SERVER = "import os, http.server\nhttp.server.HTTPServer(('127.0.0.1', int(os.environ['PORT'])), H).serve_forever()\n"
EXPRESS = "const app = express()\napp.get('/', f)\napp.listen(process.env.PORT)\n"

SHAPES = (
    Shape(
        "flask",
        {"app.py": FLASK, "requirements.txt": "Flask==3.0\ngunicorn\n"},
        "python",
        "a Flask application: `app` in app.py",
        f"cd /srv/app && {GUNICORN} app:app",
        packages=VENV,
        build=("-r requirements.txt",),
    ),
    Shape(
        "flask-without-requirements",
        {"hello.py": FLASK + "@app.get('/healthz')\ndef health(): ...\n"},
        "python",
        "a Flask application: `app` in hello.py",
        f"cd /srv/app && {GUNICORN} hello:app",
        "/healthz",
        VENV,
        ("flask, gunicorn is installed",),
        ("pip install --no-cache-dir --disable-pip-version-check flask gunicorn",),
    ),
    Shape(
        "flask-factory",
        {
            "flaskr/__init__.py": "from flask import Flask\n"
            "def create_app(test_config=None):\n    app = Flask(__name__)\n"
            "    @app.route('/hello')\n    def hello(): ...\n    return app\n",
            "flaskr/db.py": "import sqlite3\n",
            "pyproject.toml": '[project]\nname="flaskr"\nversion="1"\ndependencies=["flask"]\n'
            '[build-system]\nrequires=["flit_core<4"]\nbuild-backend="flit_core.buildapi"\n',
            "tests/test_factory.py": "from flaskr import create_app\n",
        },
        "python",
        "a Flask application: `create_app()` in flaskr/__init__.py",
        f'cd /srv/app && {GUNICORN} "flaskr:create_app()"',
        "/hello",
        VENV,
        ("gunicorn is not among",),
        ("pip install --no-cache-dir --disable-pip-version-check . gunicorn",),
    ),
    Shape(
        "fastapi-in-a-folder",
        {
            "app/main.py": "from fastapi import FastAPI\nfrom .routers import items\napp = FastAPI(title='x')\n"
            "@app.get('/items/{id}')\ndef item(id): ...\n@app.get('/health')\ndef health(): ...\n",
            "app/__init__.py": "",
            "app/routers/items.py": "router = APIRouter(prefix='/x')\n@router.get('/healthz')\ndef h(): ...\n",
            "requirements.txt": "-r requirements/more.txt\n",
            "requirements/more.txt": "fastapi\nuvicorn[standard]\n",
        },
        "python",
        "a FastAPI application: `app` in app/main.py",
        "cd /srv/app && exec /srv/venv/bin/uvicorn --host $HOST --port $PORT app.main:app",
        "/health",
        VENV,
    ),
    Shape(
        "fastapi-without-a-page",
        {
            "main.py": "from fastapi import FastAPI\napi = FastAPI()\n@api.get('/items/{id}')\ndef item(id): ...\n",
            "pyproject.toml": PYPROJECT,
        },
        "python",
        "a FastAPI application: `api` in main.py",
        "cd /srv/app && exec /srv/venv/bin/uvicorn --host $HOST --port $PORT main:api",
        "/openapi.json",
        VENV,
        build=("tomllib",),
    ),
    Shape(
        "starlette-below-src",
        {
            "src/shop/web.py": "from starlette.applications import Starlette\n"
            "app: Starlette = Starlette(routes=[Route('/ping', ping)])\n",
            "requirements.txt": "starlette",
        },
        "python",
        "a Starlette application: `app` in src/shop/web.py",
        "cd /srv/app/src && exec /srv/venv/bin/uvicorn --host $HOST --port $PORT shop.web:app",
        "/ping",
        VENV,
        ("uvicorn is not among",),
    ),
    Shape(
        "a-folder-that-is-no-package",
        {
            "backend/main.py": "from fastapi import FastAPI\nimport models\napp = FastAPI()\n"
            "@app.get('/')\ndef root(): ...\n",
            "backend/models.py": "",
            "requirements.txt": "fastapi\nuvicorn\n",
        },
        "python",
        "a FastAPI application: `app` in backend/main.py",
        "cd /srv/app/backend && exec /srv/venv/bin/uvicorn --host $HOST --port $PORT main:app",
        packages=VENV,
    ),
    Shape(
        "django",
        {
            "manage.py": MANAGE,
            "site1/settings.py": SETTINGS + "DATABASES = {'default': {'ENGINE': 'django.db.backends.sqlite3'}}\n",
            "site1/urls.py": URLS % "",
            "requirements.txt": "django\n",
        },
        "python",
        "a Django project: site1.settings",
        f"cd /srv/app && {GUNICORN} site1.wsgi:application",
        packages=VENV,
        notes=("gunicorn is not among", "read-only"),
    ),
    Shape(
        "django-with-paths",
        {
            "manage.py": MANAGE,
            "site1/settings.py": SETTINGS.replace("[]", "['example.com']") + "STATIC_ROOT = BASE_DIR / 'static'\n",
            "site1/urls.py": URLS % "    path('shop/', include('shop.urls')),\n",
            "shop/urls.py": "urlpatterns = [path('health/', health), path('<int:id>/', item)]\n",
            "requirements.txt": "Django>=4\nGunicorn\n",
        },
        "python",
        "a Django project: site1.settings",
        f"cd /srv/app && {GUNICORN} site1.wsgi:application",
        "/admin/login/",
        VENV,
        ("add localhost and 127.0.0.1 to ALLOWED_HOSTS",),
        ("collectstatic",),
    ),
    Shape(
        "django-with-a-health-path",
        {
            "manage.py": MANAGE,
            "site1/settings.py": SETTINGS,
            "site1/urls.py": URLS % "    path('healthz', healthz),\n    path('', index),\n",
            "requirements.txt": "Django>=4\nGunicorn\n",
        },
        "python",
        "a Django project: site1.settings",
        f"cd /srv/app && {GUNICORN} site1.wsgi:application",
        "/healthz",
        VENV,
    ),
    Shape(
        "aiohttp",
        {
            "server.py": "from aiohttp import web\napp = web.Application()\napp.add_routes([web.get('/', h)])\n"
            "if __name__ == '__main__':\n    web.run_app(app)\n",
            "requirements.txt": "aiohttp\n",
        },
        "python",
        "an aiohttp application: `app` in server.py",
        "cd /srv/app && exec /srv/venv/bin/python -c 'from aiohttp import web; import os, server as m; "
        'web.run_app(m.app, host=os.environ["HOST"], port=int(os.environ["PORT"]))\'',
        packages=VENV,
    ),
    Shape(
        "aiohttp-that-reads-the-port",
        {
            "main.py": "import os\nfrom aiohttp import web\napp = web.Application()\n"
            "web.run_app(app, port=int(os.getenv('PORT', '80')))\n",
            "requirements.txt": "aiohttp\n",
        },
        "python",
        "an aiohttp application: main.py",
        "cd /srv/app && exec /srv/venv/bin/python main.py",
        packages=VENV,
    ),
    Shape(
        "a script",
        {"server.py": SERVER + "# '/healthz'\n"},
        "python",
        "a server in server.py (http.server)",
        "cd /srv/app && exec python3 server.py",
        "/healthz",
        ("python3",),
    ),
    Shape(
        "a-script-with-options",
        {
            "serve.py": "from http.server import *\n"
            "parser.add_argument('--port', type=int)\nparser.add_argument('--bind')\n"
            "HTTPServer((a.bind, a.port), H).serve_forever()\n"
        },
        "python",
        "a server in serve.py (http.server)",
        "cd /srv/app && exec python3 serve.py --port $PORT --bind $HOST",
        packages=("python3",),
    ),
    Shape(
        "a-script-with-an-argument",
        {"serve.py": "import sys, socketserver\nsocketserver.TCPServer(('', int(sys.argv[1])), H).serve_forever()\n"},
        "python",
        "a server in serve.py (socketserver)",
        "cd /srv/app && exec python3 serve.py $PORT",
        packages=("python3",),
    ),
    Shape(
        "tornado",
        {"app.py": "import os, tornado.web\nweb.listen(os.environ['PORT'])\n", "requirements.txt": "tornado\n"},
        "python",
        "a server in app.py (tornado)",
        "cd /srv/app && exec /srv/venv/bin/python app.py",
        packages=VENV,
    ),
    Shape(
        "a-procfile",
        {"app.py": FLASK, "requirements.txt": "flask\ngunicorn\n", "Procfile": "release: x\nweb: gunicorn app:app\n"},
        "python",
        "a Python application",
        "cd /srv/app && export PATH=/srv/venv/bin:$PATH && exec gunicorn app:app",
        packages=VENV,
    ),
    Shape(
        "express",
        {
            "package.json": '{"name": "shop", "main": "index.js", "dependencies": {"express": "^4"}}',
            "package-lock.json": "{}",
            "index.js": EXPRESS,
        },
        "node",
        "a Node application: shop, started by `node index.js`",
        "cd /srv/app && export PATH=/srv/app/node_modules/.bin:$PATH && exec node index.js",
        packages=NPM,
        build=("npm ci --omit=dev",),
    ),
    Shape(
        "generator",
        {
            "package.json": '{"name": "gen", "scripts": {"start": "node ./bin/www"}, "dependencies": {"express": "1"}}',
            "bin/www": "var port = normalizePort(process.env.PORT || '3000');",
            "app.js": "app.use('/', indexRouter);\n",
            "public/index.html": "<html>",
        },
        "node",
        "a Node application: gen, started by `node ./bin/www`",
        "cd /srv/app && export PATH=/srv/app/node_modules/.bin:$PATH && exec node ./bin/www",
        packages=NPM,
        notes=("there is no package-lock.json", "could also be static"),
        build=("npm install --no-package-lock --omit=dev",),
    ),
    Shape(
        "next",
        {
            "package.json": '{"scripts": {"build": "next build", "start": "next start"},'
            ' "dependencies": {"next": "14"}, "engines": {"node": ">=20"}}',
            "yarn.lock": "",
        },
        "node",
        "a Node application: next start, started by `next start -H $HOST`",
        "cd /srv/app && export PATH=/srv/app/node_modules/.bin:$PATH && exec next start -H $HOST",
        packages=NPM,
        notes=("yarn.lock is not read", "asks for Node >=20"),
        build=("npm install --no-package-lock --cache", "npm run build"),
    ),
    Shape(
        "a-start-that-needs-a-shell",
        {
            "package.json": '{"name": "x", "scripts": {"start": "NODE_ENV=production node a.js && true"}}',
            "a.js": EXPRESS.replace("app.get('/', f)", "app.get('/ping', f)"),
        },
        "node",
        "a Node application: x, started by `NODE_ENV=production node a.js && true`",
        "cd /srv/app && exec npm --cache /tmp/npm start",
        "/ping",
        packages=NPM,
    ),
    Shape(
        "no-dependencies",
        {
            "package.json": '{"name": "x"}',
            "server.js": "http.createServer(f).listen(process.env.PORT, process.env.HOST)",
        },
        "node",
        "a Node application: x, started by `node server.js`",
        "cd /srv/app && export PATH=/srv/app/node_modules/.bin:$PATH && exec node server.js",
        packages=("nodejs",),
    ),
    Shape(
        "vite",
        {
            "package.json": '{"scripts": {"dev": "vite", "build": "vite build"}, "devDependencies": {"vite": "5"}}',
            "index.html": "<html>",
            "package-lock.json": "{}",
        },
        "node",
        "a Node build of static files: `vite build` makes dist/",
        "python3 /srv/files.py",
        packages=(*NPM, "python3"),
        notes=("could also be static",),
        build=("npm ci --cache", "npm run build", "/srv/app/dist"),
    ),
    Shape(
        "php",
        {"index.php": "<?php echo mb_strtoupper('x');", "style.css": ""},
        "php",
        "a PHP application: index.php",
        "cd /srv/app && exec php -S $HOST:$PORT -t .",
        packages=("php-cli", "php-mbstring"),
        flags={"PHP_CLI_SERVER_WORKERS": "4"},
    ),
    Shape(
        "composer",
        {
            "public/index.php": "<?php if ($path === '/health') ok();",
            "composer.json": '{"require": {"php": ">=8", "ext-intl": "*", "slim/slim": "4"}}',
            "package.json": '{"scripts": {"dev": "vite", "build": "vite build"}, "devDependencies": {"esbuild": "1"}}',
        },
        "php",
        "a PHP application: public/index.php",
        "cd /srv/app && exec php -S $HOST:$PORT -t public/",
        "/health",
        ("ca-certificates", "composer", "php-cli", "php-curl", "php-intl", "php-mbstring", "php-xml", "unzip"),
        build=("composer install --no-dev",),
        flags={"PHP_CLI_SERVER_WORKERS": "4"},
    ),
    Shape(
        "static",
        {"index.html": "<html>", "404.html": "no", "docs/index.html": "<html>"},
        "static",
        "static files: index.html",
        "python3 /srv/files.py",
        packages=("python3",),
        notes=("docs/index.html is there, too",),
        build=("404.html",),
    ),
    Shape(
        "static-below",
        {"public/index.html": "<html>", "README.md": ""},
        "static",
        "static files: public/index.html",
        "python3 /srv/files.py",
        packages=("python3",),
    ),
)
