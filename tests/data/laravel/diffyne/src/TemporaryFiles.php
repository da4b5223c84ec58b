<?php

namespace Diffyne;

use Illuminate\Http\UploadedFile;
use Illuminate\Support\Facades\Storage;
use Illuminate\Support\Str;

/** Uploaded files until a component takes them, by `component:name`. */
final class TemporaryFiles
{
    private const FOLDER = 'diffyne/temp';

    public static function store(UploadedFile $file, string $component): string
    {
        $name = Str::random(40).'.'.$file->getClientOriginalExtension();
        $file->storeAs(self::FOLDER.'/'.$component, $name, 'local');

        return $component.':'.$name;
    }

    public static function path(string $identifier): ?string
    {
        if (substr_count($identifier, ':') !== 1) {
            return null;
        }
        $path = self::FOLDER.'/'.str_replace(':', '/', $identifier);

        return Storage::disk('local')->exists($path) ? $path : null;
    }
}
