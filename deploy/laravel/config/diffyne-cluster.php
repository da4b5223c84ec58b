<?php

return [

    /*
    |--------------------------------------------------------------------------
    | Events of components
    |--------------------------------------------------------------------------
    |
    | Which events that components dispatch reach all pages, separated by commas;
    | "*" stands for all. The gateways have the same setting. An event that was
    | dispatched in reaction to another one is broadcast down to this depth.
    |
    */

    'broadcast_events' => env('DIFFYNE_BROADCAST_EVENTS', 'message-sent'),

    'broadcast_depth' => env('DIFFYNE_BROADCAST_DEPTH', 2),

    /*
    |--------------------------------------------------------------------------
    | Publishing
    |--------------------------------------------------------------------------
    |
    | Where events go that no worker publishes: a gateway's /api/broadcast, with
    | its admin token. Without an address they go through Laravel's own Redis
    | connection, for which gateways need its prefix (DIFFYNE_REDIS_PREFIX).
    |
    */

    'publish_url' => env('DIFFYNE_PUBLISH_URL'),

    'admin_token' => env('DIFFYNE_ADMIN_TOKEN'),

    /*
    |--------------------------------------------------------------------------
    | Health
    |--------------------------------------------------------------------------
    |
    | A gateway's /health, which app('diffyne.websocket.health') asks as well.
    |
    */

    'health_url' => env('DIFFYNE_HEALTH_URL'),

    /*
    |--------------------------------------------------------------------------
    | Webhooks
    |--------------------------------------------------------------------------
    |
    | The secret by which Diffyne\Cluster\Webhook::verify() knows what gateways
    | post to DIFFYNE_WEBHOOK_URL. A comma list accepts each of several.
    |
    */

    'webhook_secret' => env('DIFFYNE_WEBHOOK_SECRET'),

    /*
    |--------------------------------------------------------------------------
    | Locked properties
    |--------------------------------------------------------------------------
    |
    | "signed": pages get a signature over locked properties. "upstream": they do
    | not, and clients may change them. Workers have the same setting.
    |
    */

    'locked' => env('DIFFYNE_LOCKED', 'signed'),

    /*
    |--------------------------------------------------------------------------
    | Programs
    |--------------------------------------------------------------------------
    |
    | The folder of diffyne-gateway and diffyne-worker, for the artisan commands
    | diffyne:cluster, diffyne:doctor and diffyne:restart. By default they are
    | looked for in PATH.
    |
    */

    'programs' => env('DIFFYNE_PROGRAMS'),

];
