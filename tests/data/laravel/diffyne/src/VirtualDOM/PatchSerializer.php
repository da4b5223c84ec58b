<?php

namespace Diffyne\VirtualDOM;

final class PatchSerializer
{
    public function toResponse(array $rendered, bool $minify = true): array
    {
        $changed = ['i' => $rendered['id'], 'p' => $rendered['patches'], 'st' => $rendered['state']];
        $changed += ['f' => $rendered['fingerprint'], 'sig' => $rendered['signature']];
        foreach (['errors' => 'e', 'queryString' => 'q'] as $long => $short) {
            if ($rendered[$long]) {
                $changed[$short] = $rendered[$long];
            }
        }

        return ['s' => true, 'c' => $changed] + array_filter(['events' => $rendered['events'], 'browserEvents' => $rendered['browserEvents']]);
    }
}
