<div>
  <p><input type="file" id="photo" diff:model="photo"><progress diff:progress="photo" hidden></progress><em diff:error="photo"></em></p>
  <p><input type="file" id="more" diff:model="more" multiple><em diff:error="more"></em></p>
  <p><input type="file" id="once" diff:model="once"><u>{{ $taken }}</u></p>
  <output>{{ count($more) }}</output>
  <p>@if ($preview)<img src="{{ $preview }}" alt="preview">@else<i>no picture</i>@endif</p>
  <button type="button" diff:click="keep">Keep</button>
  <b>{{ $kept }}</b>
</div>
