<?php

namespace App\Diffyne;

use Diffyne\Component;
use Diffyne\Traits\HasPagination;
use Illuminate\Pagination\LengthAwarePaginator;

/** Ten rows on pages of three. */
class Listing extends Component
{
    use HasPagination;

    public ?LengthAwarePaginator $rows = null;

    public function mount(): void
    {
        $this->perPage = 3;
        $this->onPageChange();
    }

    protected function onPageChange(): void
    {
        $rows = array_map(fn (int $id) => (object) ['id' => $id, 'name' => $id === 4 ? '' : "row $id"], range(1, 10));
        $shown = array_slice($rows, ($this->page - 1) * $this->perPage, $this->perPage);
        $this->rows = new LengthAwarePaginator($shown, 10, $this->perPage, $this->page, ['path' => request()->url()]);
    }

    public function render(): string
    {
        $rows = collect($this->rows->items())->map(fn ($row) => "<li diff:key=\"row-{$row->id}\">{$row->id}</li>")->implode('');

        return "<section><p>page {$this->page}</p><ol>{$rows}</ol><button id=\"previous\" diff:click=\"previousPage\">previous</button>"
            .'<button id="third" diff:click="goToPage(3)">3</button><button id="next" diff:click="nextPage">next</button></section>';
    }
}
