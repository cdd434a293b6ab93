-- What the first version of the journal wrote. It is never edited: whatever comes later must read it.
pragma application_id = 1634624887;
pragma user_version = 1;
pragma journal_mode = wal;
BEGIN TRANSACTION;
CREATE TABLE allotments (
    id integer primary key autoincrement,
    environment integer not null,
    group_name text not null,
    ordinal integer not null,
    service text not null,
    name text not null unique,
    port integer not null,
    allotted real not null,
    launched real not null default 0,
    draining real not null default 0,
    ended real not null default 0,
    outcome text not null default '',
    is_death integer not null default 0,
    is_ended integer not null default 0,
    unique (environment, group_name, ordinal),
    foreign key (environment, group_name) references seal_groups (environment, name)
);
INSERT INTO "allotments" VALUES(1,1,'web-g1',0,'web','shop-local-web-g1-0',20001,1000.0,1000.0,1000.0,1000.0,'exit code 1',1,1);
INSERT INTO "allotments" VALUES(2,1,'web-g2',0,'web','shop-local-web-g2-0',20002,2000.5,0.0,0.0,0.0,'',0,0);
CREATE TABLE attempts (
    number integer primary key autoincrement,
    environment integer not null references environments (id),
    step text not null,
    begun real not null,
    ended real not null default 0,
    outcome text not null default ''
);
INSERT INTO "attempts" VALUES(1,1,'launch é',2000.5,2000.5,'engine: no');
CREATE TABLE environments (
    id integer primary key autoincrement,
    project text not null,
    name text not null,
    preview_port integer not null unique,
    settings text not null,
    wish integer not null default 0,
    wish_kind text not null default 'rollout',
    serving integer not null default 0,
    last_generation integer not null default 0,
    last_event integer not null default 0,
    last_hash text not null,
    unique (project, name)
);
INSERT INTO "environments" VALUES(1,'shop','local',20000,'{"name":"local","engine":"embedded","host":"127.0.0.1","port":80,"keep":5,"overrides":[]}',2,'rollout',1,2,17,'sha256:035f07e17def65488caca6b28cf88a3532929afb466c7f3167b4ca926e1dd9d1');
CREATE TABLE events (
    environment integer not null references environments (id),
    number integer not null,
    at real not null,
    kind text not null,
    text text not null,
    facts text not null,
    hash text not null,
    primary key (environment, number)
) without rowid;
INSERT INTO "events" VALUES(1,1,1000.0,'note','shop/local is used for the first time','{"preview_port": "20000"}','sha256:27fc8e04a19f45c519e559279be0e32cc6619e1c34111b6aa737e778d93a46c4');
INSERT INTO "events" VALUES(1,2,1000.0,'note','shop/local has new settings','{}','sha256:b8bf4168d676dea88f37d52fb4b54c68fb2977b085e139b5e6b5c47b5ead4bc3');
INSERT INTO "events" VALUES(1,3,1000.0,'decision','seal r1 as g1: api-g1 new, web-g1 new','{"generation": "g1", "release": "r1", "digest": "sha256:[(''api'', ''x''), (''web'', ''a'')]"}','sha256:fece886f89cd6532a59e3d4bd5b67629c5b8262fe09ca9c73838f2969553c3ac');
INSERT INTO "events" VALUES(1,4,1000.0,'wish','g1 is wanted (rollout)','{"generation": "g1", "kind": "rollout", "before": "g0"}','sha256:4bf397334cee420fc5e50c759d774307f5616fd232028f83c4669a78b096e18f');
INSERT INTO "events" VALUES(1,5,1000.0,'decision','begin the rollout to g1','{"rollout": "1", "generation": "g1", "phase": "prepare", "version": "0"}','sha256:a7762d0188e4f83d545a09850bee8a3a151c15faf587db6a73d31e80038e863b');
INSERT INTO "events" VALUES(1,6,1000.0,'decision','allot instance 0 of web-g1','{"instance": "shop-local-web-g1-0", "group": "web-g1", "port": "20001"}','sha256:118204f433927cd35a88ec6a471f465f17dd83a33d1a616cb31c20dcc4303aec');
INSERT INTO "events" VALUES(1,7,1000.0,'decision','enter warm: it serves','{"rollout": "1", "generation": "g1", "phase": "warm", "version": "1", "serving": "g1", "outcome": "g1 promoted"}','sha256:38148d709f1281cd3466dda4c7aa4231ea7c90de388b0e65e945d23bdf6d20ee');
INSERT INTO "events" VALUES(1,8,1000.0,'decision','enter done: it stays','{"rollout": "1", "generation": "g1", "phase": "done", "version": "2"}','sha256:17089bc5ac5da6a2245602bc4fcf6b7336675b6383e9e328947a56cb0d7e003f');
INSERT INTO "events" VALUES(1,9,1000.0,'decision','drain shop-local-web-g1-0','{"instance": "shop-local-web-g1-0"}','sha256:7bc1d1db3afff36f0729e09384b1064d5e4537111e268302e0e84ac98681d781');
INSERT INTO "events" VALUES(1,10,1000.0,'decision','dispose of shop-local-web-g1-0 (exit code 1)','{"instance": "shop-local-web-g1-0", "outcome": "exit code 1", "died": "yes"}','sha256:d400ede699c116e937f569f8c0aaf37ba27e255367be0b5a98e0d02153ce7296');
INSERT INTO "events" VALUES(1,11,1000.0,'decision','seal r2 as g2: api-g1 as before, web-g2 new','{"generation": "g2", "release": "r2", "digest": "sha256:[(''api'', ''x''), (''web'', ''b'')]"}','sha256:19279edbc82eee0b9f7e1dcf6582e55fb379d9cdacbdd839dfcb9c0b3ed1eccd');
INSERT INTO "events" VALUES(1,12,2000.5,'wish','g2 is wanted (rollout)','{"generation": "g2", "kind": "rollout", "before": "g1"}','sha256:ff02742fb74e81ec6d583c0f7deddc8b8422466237f48b2c210f97f3bc42f25c');
INSERT INTO "events" VALUES(1,13,2000.5,'decision','begin the rollout from g1 to g2','{"rollout": "2", "generation": "g2", "phase": "prepare", "version": "0"}','sha256:fcd70adce6fd181d20a7cd91f6b8208f4db5599dcb1db5a9b259323b61c0a1c8');
INSERT INTO "events" VALUES(1,14,2000.5,'decision','allot instance 0 of web-g2','{"instance": "shop-local-web-g2-0", "group": "web-g2", "port": "20002"}','sha256:2764a6eee790b5712cc020700940e5cf1b9f037ef6720cdba356fea08cd04375');
INSERT INTO "events" VALUES(1,15,2000.5,'decision','enter stage 1: on','{"rollout": "2", "generation": "g2", "phase": "stage", "version": "1"}','sha256:544d50e0ba6e59290795c73f820cd9319e222b34a777df7cd173d18c42fe72ed');
INSERT INTO "events" VALUES(1,16,2000.5,'decision','enter stage 2: on','{"rollout": "2", "generation": "g2", "phase": "stage", "version": "2"}','sha256:dd71019e20cc20f9d228b5cfc2dc15228423b839e5668d6269f2336fb6afa6e5');
INSERT INTO "events" VALUES(1,17,2000.5,'effect','launch é: engine: no','{"attempt": "1", "outcome": "engine: no"}','sha256:035f07e17def65488caca6b28cf88a3532929afb466c7f3167b4ca926e1dd9d1');
CREATE TABLE generations (
    environment integer not null references environments (id),
    number integer not null,
    body text not null,
    primary key (environment, number)
);
INSERT INTO "generations" VALUES(1,1,'{"number":1,"release":"r1","digest":"sha256:[(''api'', ''x''), (''web'', ''a'')]","members":[{"service":"api","group":"api-g1","size":1,"policy":{"stages":[10,100,500],"each":10.0,"within":60.0,"undecided":"advance","ready":60.0,"warm":1800.0,"drain":30.0,"grace":10.0,"control":20},"tests":[],"hosts":[]},{"service":"web","group":"web-g1","size":1,"policy":{"stages":[10,100,500],"each":10.0,"within":60.0,"undecided":"advance","ready":60.0,"warm":1800.0,"drain":30.0,"grace":10.0,"control":20},"tests":[],"hosts":[]}],"previous":0,"outcome":"promoted","reason":"","warm_until":0.0,"is_retired":false,"at":1000.0}');
INSERT INTO "generations" VALUES(1,2,'{"number":2,"release":"r2","digest":"sha256:[(''api'', ''x''), (''web'', ''b'')]","members":[{"service":"api","group":"api-g1","size":1,"policy":{"stages":[10,100,500],"each":10.0,"within":60.0,"undecided":"advance","ready":60.0,"warm":1800.0,"drain":30.0,"grace":10.0,"control":20},"tests":[],"hosts":[]},{"service":"web","group":"web-g2","size":1,"policy":{"stages":[10,100,500],"each":10.0,"within":60.0,"undecided":"advance","ready":60.0,"warm":1800.0,"drain":30.0,"grace":10.0,"control":20},"tests":[],"hosts":[]}],"previous":1,"outcome":"","reason":"","warm_until":0.0,"is_retired":false,"at":1000.0}');
CREATE TABLE lent_ports (
    port integer primary key,
    pid integer not null,
    started integer not null
);
CREATE TABLE projects (
    name text primary key,
    last_release integer not null default 0
);
INSERT INTO "projects" VALUES('shop',2);
CREATE TABLE releases (
    project text not null references projects (name),
    number integer not null,
    digest text not null,
    body text not null,
    primary key (project, number),
    unique (project, digest)
);
INSERT INTO "releases" VALUES('shop',1,'sha256:[(''api'', ''x''), (''web'', ''a'')]','{"project":"shop","name":"r1","digest":"sha256:[(''api'', ''x''), (''web'', ''a'')]","parts":[{"service":{"name":"api","os":"base","command":["run","api"],"copy":[],"build":[],"http":null,"hosts":[],"is_exposed":false,"size":1,"flags":[],"writable":[],"tests":[],"policy":{"stages":[10,100,500],"each":10.0,"within":60.0,"undecided":"advance","ready":60.0,"warm":1800.0,"drain":30.0,"grace":10.0,"control":20}},"image":{"identity":{"input":"x","tree":"x","diffs":["x"],"config":"x","manifest":"sha256:x"},"layers":["x"],"is_host":false,"is_reproducible":true}},{"service":{"name":"web","os":"base","command":["run","web"],"copy":[],"build":[],"http":null,"hosts":[],"is_exposed":false,"size":1,"flags":[],"writable":[],"tests":[],"policy":{"stages":[10,100,500],"each":10.0,"within":60.0,"undecided":"advance","ready":60.0,"warm":1800.0,"drain":30.0,"grace":10.0,"control":20}},"image":{"identity":{"input":"a","tree":"a","diffs":["a"],"config":"a","manifest":"sha256:a"},"layers":["a"],"is_host":false,"is_reproducible":true}}],"at":1000.0}');
INSERT INTO "releases" VALUES('shop',2,'sha256:[(''api'', ''x''), (''web'', ''b'')]','{"project":"shop","name":"r2","digest":"sha256:[(''api'', ''x''), (''web'', ''b'')]","parts":[{"service":{"name":"api","os":"base","command":["run","api"],"copy":[],"build":[],"http":null,"hosts":[],"is_exposed":false,"size":1,"flags":[],"writable":[],"tests":[],"policy":{"stages":[10,100,500],"each":10.0,"within":60.0,"undecided":"advance","ready":60.0,"warm":1800.0,"drain":30.0,"grace":10.0,"control":20}},"image":{"identity":{"input":"x","tree":"x","diffs":["x"],"config":"x","manifest":"sha256:x"},"layers":["x"],"is_host":false,"is_reproducible":true}},{"service":{"name":"web","os":"base","command":["run","web"],"copy":[],"build":[],"http":null,"hosts":[],"is_exposed":false,"size":1,"flags":[],"writable":[],"tests":[],"policy":{"stages":[10,100,500],"each":10.0,"within":60.0,"undecided":"advance","ready":60.0,"warm":1800.0,"drain":30.0,"grace":10.0,"control":20}},"image":{"identity":{"input":"b","tree":"b","diffs":["b"],"config":"b","manifest":"sha256:b"},"layers":["b"],"is_host":false,"is_reproducible":true}}],"at":1000.0}');
CREATE TABLE rollouts (
    id integer primary key autoincrement,
    environment integer not null references environments (id),
    version integer not null default 0,
    is_over integer not null default 0,
    body text not null
);
INSERT INTO "rollouts" VALUES(1,1,2,1,'{"id":1,"kind":"rollout","old":0,"new":1,"phase":"done","since":1000.0,"stage":0,"asked":"","reason":"it stays","version":1,"counts":[],"tested":"","begun":1000.0}');
INSERT INTO "rollouts" VALUES(2,1,2,0,'{"id":2,"kind":"rollout","old":1,"new":2,"phase":"stage","since":2000.5,"stage":1,"asked":"","reason":"on","version":1,"counts":[],"tested":"","begun":2000.5}');
CREATE TABLE seal_groups (
    environment integer not null references environments (id),
    name text not null,
    service text not null,
    digest text not null,
    label text not null unique,
    body text not null,
    next_ordinal integer not null default 0,
    deaths text not null default '[]',
    outcome text not null default '',
    is_forgotten integer not null default 0,
    primary key (environment, name)
);
INSERT INTO "seal_groups" VALUES(1,'api-g1','api','sha256:4fefb73fb0826e9878473fb47d8567c6d886aa4fd43ffa9f76ec5f5cec9509c2','shop-local-api-g1','{"name":"api-g1","service":"api","digest":"sha256:4fefb73fb0826e9878473fb47d8567c6d886aa4fd43ffa9f76ec5f5cec9509c2","seal":{"service":"api","image":"sha256:x","command":["run","api"],"flags":[],"health":"/","writable":[]},"image":{"identity":{"input":"x","tree":"x","diffs":["x"],"config":"x","manifest":"sha256:x"},"layers":["x"],"is_host":false,"is_reproducible":true}}',0,'[]','',0);
INSERT INTO "seal_groups" VALUES(1,'web-g1','web','sha256:1d0ae2138079554535fb9546d23fb091fc022fafcb656ada8fae59fea6666fa4','shop-local-web-g1','{"name":"web-g1","service":"web","digest":"sha256:1d0ae2138079554535fb9546d23fb091fc022fafcb656ada8fae59fea6666fa4","seal":{"service":"web","image":"sha256:a","command":["run","web"],"flags":[],"health":"/","writable":[]},"image":{"identity":{"input":"a","tree":"a","diffs":["a"],"config":"a","manifest":"sha256:a"},"layers":["a"],"is_host":false,"is_reproducible":true}}',1,'[1000.0]','exit code 1',0);
INSERT INTO "seal_groups" VALUES(1,'web-g2','web','sha256:f04edc3309c97251d85484ff91be1eb9e2326295af9a3da1018ac51ed890cf0d','shop-local-web-g2','{"name":"web-g2","service":"web","digest":"sha256:f04edc3309c97251d85484ff91be1eb9e2326295af9a3da1018ac51ed890cf0d","seal":{"service":"web","image":"sha256:b","command":["run","web"],"flags":[],"health":"/","writable":[]},"image":{"identity":{"input":"b","tree":"b","diffs":["b"],"config":"b","manifest":"sha256:b"},"layers":["b"],"is_host":false,"is_reproducible":true}}',1,'[]','',0);
CREATE TABLE sealed (
    environment integer not null,
    generation integer not null,
    service text not null,
    digest text not null,
    is_new integer not null,
    primary key (environment, generation, service),
    foreign key (environment, generation) references generations (environment, number)
);
INSERT INTO "sealed" VALUES(1,1,'api','sha256:4fefb73fb0826e9878473fb47d8567c6d886aa4fd43ffa9f76ec5f5cec9509c2',1);
INSERT INTO "sealed" VALUES(1,1,'web','sha256:1d0ae2138079554535fb9546d23fb091fc022fafcb656ada8fae59fea6666fa4',1);
INSERT INTO "sealed" VALUES(1,2,'api','sha256:4fefb73fb0826e9878473fb47d8567c6d886aa4fd43ffa9f76ec5f5cec9509c2',0);
INSERT INTO "sealed" VALUES(1,2,'web','sha256:f04edc3309c97251d85484ff91be1eb9e2326295af9a3da1018ac51ed890cf0d',1);
CREATE TABLE state (
    one integer primary key check (one = 1),
    owner text not null,
    last_port integer not null
);
INSERT INTO "state" VALUES(1,'0123456789abcdef',20002);
CREATE TABLE verdicts (
    key text primary key,
    body text not null
);
INSERT INTO "verdicts" VALUES('key','{"service":"web","manifest":"sha256:a","is_passed":true,"is_reused":false,"results":[["http GET /",""]],"at":1.5}');
CREATE UNIQUE INDEX one_group_per_seal on seal_groups (environment, service, digest) where is_forgotten = 0;
CREATE UNIQUE INDEX one_rollout_under_way on rollouts (environment) where is_over = 0;
CREATE UNIQUE INDEX one_allotment_per_port on allotments (port) where is_ended = 0;
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('environments',1);
INSERT INTO "sqlite_sequence" VALUES('rollouts',2);
INSERT INTO "sqlite_sequence" VALUES('allotments',2);
INSERT INTO "sqlite_sequence" VALUES('attempts',1);
COMMIT;
