<?php

namespace App\Diffyne;

use Diffyne\Attributes\Lazy;
use Diffyne\Attributes\Locked;
use Diffyne\Attributes\QueryString;
use Diffyne\Component;

/** Has properties in the page's address, some of which clients must not choose. */
#[Lazy]
class Tabs extends Component
{
    public static string $shared = 'own';

    #[QueryString(as: 't')]
    public string $tab = 'own';

    #[QueryString, Locked]
    public string $team = 'own';

    #[QueryString]
    public string $secret = 'own';

    public string $plain = 'own';

    public string $seen = '';

    protected array $hidden = ['secret'];

    public function mount(): void
    {
        $this->seen = json_encode(['tab' => $this->tab, 'team' => $this->team, 'secret' => $this->secret, 'plain' => $this->plain,
            'shared' => self::$shared, 'hidden' => $this->hidden]);
    }

    public function render(): string
    {
        return '<p>'.e($this->tab).'</p>';
    }
}
