<?php

/*
 * A proof for each kind of state that code can change: `change` changes it, `read` tells what it is.
 *
 * The test runs `change` in a call and `read` in the next one, and then the same in an application whose provider ran
 * `boot` (or `change`) when it booted. The kinds of the worker's catalogue (catalogue.php) have a proof of the same name.
 * `replaced`: the process is replaced after `change`.
 */

return [
    // The process.
    'superglobals' => ['change' => '$_SERVER["left"] = $_GET["left"] = $_SESSION["left"] = 1;', 'read' => 'return [$_SERVER["left"] ?? 0, $_GET["left"] ?? 0, $_SESSION["left"] ?? 0];', 'boot' => '$_SERVER["left"] = 1;'],
    'globals' => ['change' => '$GLOBALS["left"] = 1; $GLOBALS["argv"] = ["left"];', 'read' => 'return [$GLOBALS["left"] ?? 0, ($GLOBALS["argv"] ?? 0) === ["left"]];'],
    'environment' => ['change' => 'putenv("LEFT=1"); putenv("HOME=/left");', 'read' => 'return [getenv("LEFT"), getenv("HOME")];'],
    'ini' => ['change' => 'ini_set("precision", "5"); ini_set("default_socket_timeout", "3"); error_reporting(E_ERROR);', 'read' => 'return [(string) 1.23456789, ini_get("default_socket_timeout"), error_reporting()];'],
    'time_limit' => ['change' => 'set_time_limit(1);', 'read' => '$until = hrtime(true) + 1_500_000_000; while (hrtime(true) < $until); return ini_get("max_execution_time");', 'boot' => 'set_time_limit(77);', 'pool' => true],
    'time_zone' => ['change' => 'date_default_timezone_set("Asia/Tokyo");', 'read' => 'return date_default_timezone_get();'],
    'locale' => ['change' => 'setlocale(LC_ALL, setlocale(LC_CTYPE, "0") === "C" ? "C.UTF-8" : "C");', 'read' => 'return setlocale(LC_CTYPE, "0");'],
    'encodings' => ['change' => 'mb_internal_encoding("ISO-8859-1"); mb_language("Japanese"); mb_substitute_character(0x3f + 1); mb_detect_order(["ASCII"]);', 'read' => 'return [mb_internal_encoding(), mb_language(), mb_substitute_character(), mb_detect_order()];', 'boot' => 'mb_language("Japanese");'],
    'directory' => ['change' => 'chdir("/usr");', 'read' => 'return getcwd() === "/usr";', 'boot' => 'chdir("/usr");'],
    'umask' => ['change' => 'umask(0077);', 'read' => 'return umask();'],
    'error_handler' => ['change' => 'set_error_handler(fn () => true);', 'read' => 'try { $none = []; $none["x"]; return "silent"; } catch (\ErrorException) { return "exception"; }'],
    'exception_handler' => ['change' => 'set_exception_handler("var_dump");', 'read' => '$was = set_exception_handler(null); restore_exception_handler(); return is_string($was) ? $was : "other";'],
    'shutdown_functions' => ['change' => '\App\Support\Proofs::countAtShutdown();', 'read' => 'return \App\Support\Proofs::missingShutdowns();', 'exit' => '\App\Support\Proofs::countAtShutdown(); exit;', 'boot' => '', 'pool' => true],
    'autoloaders' => ['change' => 'spl_autoload_register(function ($class) { if ($class === "Left\Here") { eval("namespace Left; class Here {}"); } });', 'read' => '$found = false; foreach (spl_autoload_functions() as $loader) { if ($loader instanceof \Closure && str_contains((string) (new \ReflectionFunction($loader))->getFileName(), "Proofs")) { $found = true; } } return $found;'],
    'libxml' => ['change' => 'libxml_use_internal_errors(true); simplexml_load_string("<a>");', 'read' => '$was = libxml_use_internal_errors(false); libxml_use_internal_errors($was); return [$was, count(libxml_get_errors())];', 'boot' => 'libxml_use_internal_errors(true);'],
    'random' => ['change' => 'mt_srand(7);', 'read' => 'static $seeded; mt_srand(7); $seeded = mt_rand(); return mt_rand() === $seeded;', 'each' => 'return mt_rand();', 'boot' => ''],
    'stream_context' => ['change' => 'stream_context_set_default(["http" => ["user_agent" => "left"]]);', 'read' => 'return stream_context_get_options(stream_context_get_default());', 'replaced' => true],
    'stream_wrappers' => ['change' => 'stream_wrapper_register("left", \ArrayObject::class); stream_wrapper_unregister("http");', 'read' => 'return [in_array("left", stream_get_wrappers()), in_array("http", stream_get_wrappers())];', 'boot' => 'stream_wrapper_register("left", \ArrayObject::class);'],
    'output' => ['change' => 'ob_start(); echo "half"; ob_start(); echo "a page";', 'read' => 'return ob_get_level() < 3;', 'boot' => ''],
    'output that was sent' => ['change' => 'while (ob_get_level()) { ob_end_clean(); } echo " "; flush();', 'read' => 'return headers_sent();', 'boot' => '', 'replaced' => true],
    'headers' => ['change' => 'header("X-Left: 1"); http_response_code(418);', 'read' => 'return [headers_list(), http_response_code() === 418];', 'boot' => ''],
    'signals' => ['change' => 'pcntl_async_signals(true); pcntl_signal(SIGUSR1, fn () => exit(3)); pcntl_sigprocmask(SIG_BLOCK, [SIGUSR2]);', 'read' => 'pcntl_sigprocmask(SIG_UNBLOCK, [SIGURG], $blocked); return [pcntl_async_signals(), is_object(pcntl_signal_get_handler(SIGUSR1)), $blocked];', 'pool' => true],
    'timers' => ['change' => 'pcntl_alarm(1);', 'read' => 'usleep(1_300_000); return "alive";', 'boot' => '', 'pool' => true],
    'children' => ['change' => 'if (($pid = pcntl_fork()) === 0) { posix_kill(getmypid(), SIGKILL); } function_exists("pcntl_waitid") ? pcntl_waitid(P_PID, $pid, $info, WEXITED | WNOWAIT) : usleep(500_000);', 'read' => 'return pcntl_waitpid(-1, $status, WNOHANG);', 'boot' => '', 'pool' => true],
    'caches' => ['change' => 'touch(base_path("seen"), 1000); filemtime(base_path("seen")); exec("touch -d @2000 ".base_path("seen"));', 'read' => 'return is_file(base_path("seen")) ? filemtime(base_path("seen")) : 2000;', 'boot' => ''],
    'last_error' => ['change' => '@trigger_error("left");', 'read' => 'return error_get_last();', 'boot' => ''],
    'descriptors' => ['change' => '\App\Support\Proofs::keepFilesOpen();', 'read' => 'return count(get_resources()) > 80;', 'boot' => '', 'replaced' => true],

    // Objects of the framework.
    'config' => ['change' => 'config(["app.name" => "left"]);', 'read' => 'return config("app.name");'],
    'a tenant\'s configuration' => ['change' => 'config(["hashing.bcrypt.rounds" => 5, "filesystems.disks.local.root" => "/left", "mail.from.address" => "left@x.test"]); Hash::driver(); Storage::disk("local");', 'read' => 'return [password_get_info(Hash::make("x"))["options"]["cost"] === 5, Storage::disk("local")->path("x") === "/left/x"];', 'boot' => 'config(["hashing.bcrypt.rounds" => 5, "filesystems.disks.local.root" => "/left"]);'],
    'locale of the application' => ['change' => 'App::setLocale("de");', 'read' => 'return [App::getLocale(), Lang::getLocale(), app("left.locale")()];'],
    'container' => ['change' => 'app()->instance("left", 1); app()->bind("left.too", fn () => 1); app()->extend("left.service", fn ($service) => new \ArrayObject(["left"])); app()->alias("left", "left.alias");', 'read' => 'return [app()->bound("left"), app()->bound("left.too"), app("left.service")->count(), app()->bound("left.alias")];'],
    'a singleton of a provider' => ['change' => 'app("left.service")["x"] = 1; app("left.keeper")->value = "left";', 'read' => 'return [count(app("left.service")), app("left.keeper")->value];'],
    'once' => ['change' => 'app("left.once")();', 'read' => 'return strlen(app("left.once")());', 'each' => 'return app("left.once")();', 'boot' => ''],
    'array cache' => ['change' => 'config(["cache.stores.array.driver" => "array"]); Cache::store("array")->put("left", 1);', 'read' => 'config(["cache.stores.array.driver" => "array"]); return Cache::store("array")->get("left", 0);'],
    'shared log context' => ['change' => 'Log::shareContext(["left" => 1]); Log::withContext(["left" => 1]);', 'read' => 'return Log::sharedContext();'],
    'context' => ['change' => 'if (class_exists(\Illuminate\Support\Facades\Context::class)) { \Illuminate\Support\Facades\Context::add("left", 1); }', 'read' => 'return class_exists(\Illuminate\Support\Facades\Context::class) ? \Illuminate\Support\Facades\Context::get("left", 0) : 0;', 'boot' => ''],
    'query log' => ['change' => 'DB::enableQueryLog(); DB::select("select 1");', 'read' => 'return [DB::logging(), count(DB::getQueryLog())];', 'boot' => 'DB::enableQueryLog();'],
    'transaction' => ['change' => 'DB::beginTransaction(); DB::table("messages")->insert(["content" => "left"]);', 'read' => 'return [DB::transactionLevel(), DB::table("messages")->count()];', 'boot' => ''],
    'transaction of PDO' => ['change' => 'DB::connection()->getPdo()->beginTransaction(); DB::table("messages")->insert(["content" => "left"]);', 'read' => 'return [DB::connection()->getPdo()->inTransaction(), DB::table("messages")->count()];', 'boot' => ''],
    'temporary table' => ['change' => 'DB::statement("create temp table if not exists left_here (a)");', 'read' => 'try { DB::select("select * from left_here"); return 1; } catch (\Throwable) { return 0; }', 'boot' => ''],
    'temporary table in Laravel\'s words' => ['change' => 'DB::statement("/* cart */ create temporary table if not exists left_there (a)");', 'read' => 'try { DB::select("select * from left_there"); return 1; } catch (\Throwable) { return 0; }', 'boot' => ''],
    'connection that a call configures' => ['change' => 'method_exists(app("db"), "connectUsing") && app("db")->connectUsing("tenant", ["driver" => "sqlite", "database" => ":memory:", "prefix" => "left_"]);', 'read' => 'try { return DB::connection("tenant")->getTablePrefix(); } catch (\Throwable) { return "unknown"; }', 'boot' => ''],
    'prefix of tables' => ['change' => 'DB::setTablePrefix("left_");', 'read' => 'return DB::table("messages")->toSql();', 'boot' => ''],
    'settings of a connection' => ['change' => 'DB::statement("pragma foreign_keys = 0"); DB::statement("pragma cache_size = 77");', 'read' => 'return DB::select("pragma cache_size");', 'boot' => ''],
    'attributes of PDO' => ['change' => 'DB::connection()->getPdo()->setAttribute(PDO::ATTR_ERRMODE, PDO::ERRMODE_SILENT);', 'read' => 'return DB::connection()->getPdo()->getAttribute(PDO::ATTR_ERRMODE);', 'boot' => ''],
    'database in memory' => ['change' => 'config(["database.connections.ram" => ["driver" => "sqlite", "database" => ":memory:", "prefix" => ""]]); DB::connection("ram")->statement("create table t (a)");', 'read' => 'config(["database.connections.ram" => ["driver" => "sqlite", "database" => ":memory:", "prefix" => ""]]); return count(DB::connection("ram")->select("select * from sqlite_master"));', 'boot' => ''],
    'connection that its server has closed' => ['change' => 'DB::connection("dying")->select("select 1"); file_put_contents(base_path("dead"), hrtime(true));', 'read' => 'return count(DB::connection("dying")->select("select 1"));', 'boot' => ''],
    'listeners' => ['change' => 'Event::listen("left", fn () => 1);', 'read' => 'return Event::hasListeners("left");'],
    'faked events' => ['change' => 'Event::fake(); Bus::fake(); Queue::fake(); Http::fake(); app()->bound("mail.manager") && Mail::fake();', 'read' => 'return [get_class(app("events")), get_class(Event::getFacadeRoot()), class_basename(Queue::getFacadeRoot())];', 'boot' => ''],
    'HTTP stubs' => ['change' => 'class_exists(\GuzzleHttp\Psr7\Response::class) && Http::fake(["*" => Http::response("left")]);', 'read' => 'try { return Http::timeout(1)->get("http://127.0.0.1:1/")->body(); } catch (\Throwable) { return "refused"; }', 'boot' => ''],
    'shared view data' => ['change' => 'View::share("left", 1);', 'read' => 'return View::shared("left", 0);'],
    'view composers' => ['change' => 'View::composer("*", fn ($view) => $view->with("left", 1)); View::addNamespace("left", "/left"); Blade::directive("left", fn () => 1); Blade::if("left", fn () => true);', 'read' => 'return [Event::hasListeners("composing: x"), array_key_exists("left", View::getFinder()->getHints()), array_key_exists("left", Blade::getCustomDirectives())];'],
    'view composers of providers' => ['change' => '', 'read' => 'return app("left.request")()->userAgent();', 'boot' => ''],
    'URLs' => ['change' => 'URL::forceRootUrl("https://left.test"); URL::defaults(["left" => 1]); URL::forceScheme("https");', 'read' => 'return [parse_url(url("/x"), PHP_URL_HOST) === "left.test", URL::getDefaultParameters()];'],
    'translations' => ['change' => 'Lang::addLines(["left.here" => "there"], "en"); Lang::addNamespace("left", "/left");', 'read' => 'return [Lang::get("left.here"), array_key_exists("left", Lang::getLoader()->namespaces())];'],
    'validation rules' => ['change' => 'Validator::extend("left", fn () => true);', 'read' => 'try { return Validator::make(["a" => 1], ["a" => "left"])->passes(); } catch (\Throwable) { return "unknown"; }'],
    'gates' => ['change' => 'Gate::define("left", fn ($user = null) => true); Gate::before(fn ($user = null) => true);', 'read' => 'return [Gate::has("left"), Gate::allows("anything")];'],
    'user' => ['change' => 'Auth::setUser(new \Illuminate\Auth\GenericUser(["id" => 7])); Auth::shouldUse("left");', 'read' => 'return [Auth::getDefaultDriver(), Auth::guard("web")->id()];', 'boot' => ''],
    'session of providers' => ['change' => 'app("left.session")()->put("left", 1);', 'read' => 'return app("left.session")()->get("left", 0);', 'boot' => ''],
    'cookies' => ['change' => 'Cookie::queue("left", "1");', 'read' => 'return count(Cookie::getQueuedCookies());'],
    'routes' => ['change' => 'Route::get("/left", fn () => 1)->name("left"); Route::pattern("left", "x");', 'read' => 'return [Route::has("left"), Route::getPatterns()];'],
    'rate limits' => ['change' => 'RateLimiter::for("left", fn () => 1);', 'read' => 'return RateLimiter::limiter("left") === null;'],
    'terminating callbacks' => ['change' => 'array_map("unlink", glob(base_path("left-*"))); app()->terminating(fn () => file_put_contents(base_path("left-".bin2hex(random_bytes(4))), ""));', 'read' => 'return count(glob(base_path("left-*"))) > 1;', 'boot' => ''],
    'trusted proxies' => ['change' => 'Request::setTrustedProxies(["203.0.113.0/24"], Request::HEADER_X_FORWARDED_FOR); app(\Illuminate\Http\Middleware\TrustProxies::class)::at(["198.51.100.0/24"]);', 'read' => 'return [Request::getTrustedProxies(), Request::getTrustedHeaderSet()];', 'boot' => ''],
    'headers of a request' => ['change' => 'request()->headers->set("X-Left", "1"); request()->headers->remove("User-Agent"); request()->server->set("HTTP_X_LEFT", "1");', 'read' => 'return [request()->header("X-Left"), request()->server("HTTP_X_LEFT"), request()->header("Accept")];', 'boot' => ''],
    'what hears of the end of a request' => ['change' => 'array_map("unlink", glob(base_path("heard-".getmypid())));', 'read' => 'clearstatcache(); return is_file(base_path("heard-".getmypid()));', 'boot' => 'Event::listen(\Illuminate\Foundation\Http\Events\RequestHandled::class, fn () => touch(base_path("heard-".getmypid())));', 'pool' => true],
    'path of paginators' => ['change' => '', 'read' => 'return parse_url((new \Illuminate\Pagination\LengthAwarePaginator([], 0, 1))->path() === "/" ? \Illuminate\Pagination\Paginator::resolveCurrentPath() : "", PHP_URL_HOST);', 'boot' => ''],

    // Static properties of the framework.
    'macros' => ['change' => 'Str::macro("left", fn () => 1); Collection::macro("left", fn () => 1); Request::macro("left", fn () => 1);', 'read' => 'return [Str::hasMacro("left"), Collection::hasMacro("left"), Request::hasMacro("left")];'],
    'random strings' => ['change' => 'Str::createRandomStringsUsing(fn () => "left"); Str::createUuidsUsing(fn () => "left");', 'read' => 'return [Str::random(4) === "left", (string) Str::uuid() === "left"];', 'boot' => 'Str::createUuidsUsing(fn () => "left");'],
    'numbers' => ['change' => 'if (method_exists(\Illuminate\Support\Number::class, "useLocale")) { \Illuminate\Support\Number::useLocale("de"); }', 'read' => 'return (new ReflectionProperty(\Illuminate\Support\Number::class, "locale"))->getValue();'],
    'test time' => ['change' => 'Carbon::setTestNow("2001-01-01"); Carbon::setLocale("de");', 'read' => 'return [Carbon::now()->year === 2001, Carbon::getLocale(), now()->year === 2001];'],
    'dates' => ['change' => 'Date::use(\Carbon\CarbonImmutable::class); Carbon::serializeUsing(fn () => "left");', 'read' => 'return [get_class(now()), json_encode(Carbon::parse("2020-01-01"))];'],
    'models' => ['change' => 'Model::unguard(); Model::preventLazyLoading(); Model::preventSilentlyDiscardingAttributes();', 'read' => 'return [Model::isUnguarded(), Model::preventsLazyLoading(), Model::preventsSilentlyDiscardingAttributes()];'],
    'models that booted' => ['change' => '\App\Models\Message::left();', 'read' => 'return \App\Models\Message::$booted_with;', 'boot' => ''],
    'morph map' => ['change' => 'Relation::morphMap(["left" => \stdClass::class]);', 'read' => 'return Relation::morphMap();'],
    'paginators' => ['change' => '\Illuminate\Pagination\Paginator::useBootstrap(); \Illuminate\Pagination\Paginator::currentPageResolver(fn () => 77);', 'read' => 'return [\Illuminate\Pagination\Paginator::$defaultView, \Illuminate\Pagination\Paginator::resolveCurrentPage()];'],
    'JSON resources' => ['change' => '\Illuminate\Http\Resources\Json\JsonResource::withoutWrapping();', 'read' => 'return \Illuminate\Http\Resources\Json\JsonResource::$wrap;'],
    'password rules' => ['change' => '\Illuminate\Validation\Rules\Password::defaults(fn () => \Illuminate\Validation\Rules\Password::min(77));', 'read' => 'return str_contains(serialize(\Illuminate\Validation\Rules\Password::default()), "i:77");'],
    'Vite' => ['change' => 'if (class_exists(\Illuminate\Foundation\Vite::class)) { app(\Illuminate\Foundation\Vite::class)->useBuildDirectory("left"); }', 'read' => '$vite = app(\Illuminate\Foundation\Vite::class); return (fn () => $this->buildDirectory)->call($vite);'],
    'facades' => ['change' => 'Cache::swap(new \ArrayObject());', 'read' => 'return get_class(Cache::getFacadeRoot());', 'boot' => ''],

    'a class that a call gives another name' => ['change' => 'class_exists("LeftStr", false) || class_alias(Str::class, "LeftStr"); Str::macro("left", fn () => 1);', 'read' => 'return Str::hasMacro("left");', 'boot' => 'Str::macro("left", fn () => 1);'],

    // Static properties of the application.
    'static properties' => ['change' => '\App\Support\Keeper::$list[] = "left"; \App\Support\Keeper::set("left");', 'read' => 'return [\App\Support\Keeper::$list, \App\Support\Keeper::get(), \App\Support\Child::get()];'],
    'static properties of a class that a call loads' => ['change' => '\App\Support\Late::$left = 1;', 'read' => 'return \App\Support\Late::$left;', 'boot' => ''],

    'static property without a value' => ['change' => '\App\Support\Keeper::$maybe = "left";', 'read' => 'return \App\Support\Keeper::$maybe ?? "none";'],
    'dynamic property' => ['change' => 'app("left.keeper")->other = "left";', 'read' => 'return app("left.keeper")->other ?? "none";', 'boot' => ''],
    'all properties of an object' => ['change' => '$keeper = app("left.keeper"); $keeper->value = $keeper->other = "left"; unset($keeper->kept);', 'read' => 'return get_object_vars(app("left.keeper"));', 'boot' => ''],
    'property that is a reference' => ['change' => 'app("left.keeper")->kept["x"] = "left";', 'read' => 'return app("left.keeper")->kept;'],
    'object that a closure holds' => ['change' => 'app("left.closure")("left");', 'read' => 'return app("left.closure")(null);'],
    'queue of PHP' => ['change' => 'app("left.queue")->push("left");', 'read' => 'return count(app("left.queue"));'],
    'session service made anew' => ['change' => 'app()->forgetInstance("session"); app()->forgetInstance("session.store"); app("session")->put("left", 1);', 'read' => 'return session("left", 0);', 'boot' => ''],
    'property with a hook' => ['change' => 'app("left.modern")->change("left");', 'read' => '$modern = app("left.modern"); return [$modern->hooked, $modern->isSet("hookedWithoutValue")];'],
    'hooks that nobody runs' => ['change' => '', 'read' => 'return \App\Support\Modern::$hooks;', 'boot' => ''],
    'property that others cannot set' => ['change' => 'app("left.modern")->change("left");', 'read' => '$modern = app("left.modern"); return [$modern->privateSet, $modern->protectedSet];'],
    'property without a value' => ['change' => 'app("left.modern")->change("left");', 'read' => '$modern = app("left.modern"); return [$modern->isSet("typed"), $modern->isSet("removed")];'],
    'readonly property that a call sets' => ['change' => 'app("left.modern")->first("left");', 'read' => 'return app("left.modern")->isSet("own");'],
    'object behind a readonly property' => ['change' => 'app("left.modern")->keeper->value = "left";', 'read' => 'return app("left.modern")->keeper->value;'],
    'dynamic property of a provider' => ['change' => 'app("left.keeper")->dynamic = "left";', 'read' => 'return app("left.keeper")->dynamic;'],
    'object that is initialized at first use' => ['change' => 'app("left.ghost")->value; app("left.ghost")->other = "left"; app("left.proxy")->value = "left";', 'read' => '$class = new ReflectionClass(\App\Support\Keeper::class); return [$class->isUninitializedLazyObject(app("left.ghost")), $class->isUninitializedLazyObject(app("left.proxy")), $class->isUninitializedLazyObject(app("left.lazy"))];'],
    'object behind a proxy' => ['change' => 'app("left.proxy")->value = "left"; app("left.ghost")->value = "left";', 'read' => '$proxy = app("left.proxy"); return [$proxy->value ?? "none", str_starts_with(app("left.ghost")->value, "user of"), get_mangled_object_vars(app("left.lazy"))];', 'boot' => ''],
    'object that a call makes lazy' => ['change' => '(new ReflectionClass(\App\Support\Keeper::class))->resetAsLazyGhost(app("left.keeper"), fn () => null);', 'read' => 'return app("left.keeper")->dynamic;', 'boot' => ''],
    'variable that closures share' => ['change' => 'app("left.write")("left");', 'read' => 'return app("left.read")();'],
    'class that sets itself when it is loaded' => ['change' => '\App\Support\SelfSetting::$names = ["left"]; \App\Support\SelfSetting::$keeper->value = "left"; \App\Support\Keeper::$registered[] = "left"; \App\Support\SelfSettingPart::$whole = "left";', 'read' => 'class_exists(\App\Support\SelfSetting::class); return [\App\Support\SelfSetting::$names, \App\Support\SelfSetting::$keeper->value, \App\Support\Keeper::$registered, \App\Support\SelfSettingPart::$whole];'],
    'closures that count' => ['change' => 'app("left.count")();', 'read' => 'return app("left.count")() > 2;', 'boot' => '', 'replaced' => true],
    'objects of a final class' => ['change' => 'app("left.final")->first("left");', 'read' => 'return app("left.final")->isSet("own");', 'boot' => '', 'replaced' => true],
    'objects that cannot be put back' => ['change' => '\App\Support\Keeper::$only = new \App\Support\Keeper();', 'read' => 'try { return \App\Support\Keeper::$only::class; } catch (\Error) { return "none"; }', 'boot' => '', 'replaced' => true],

    // What only a process of its own, or a server that ends its requests, gives.
    'shutdown functions' => ['change' => 'register_shutdown_function(fn () => touch(base_path("shut-down")));', 'read' => 'clearstatcache(); return is_file(base_path("shut-down"));', 'boot' => '', 'process' => true],

    'static variables' => ['change' => '', 'read' => 'return \App\Support\Counting::One->next();', 'boot' => '', 'process' => true],

    // A view, whose file the test changes.
    'views' => ['change' => '', 'read' => 'return view("left")->render();', 'boot' => '', 'process' => true],
];
