defmodule Crema.Broadway.Waiting do
  @moduledoc false
  # The messages that wait until a pipeline has room for them, and how many of each partition are
  # in it. A partition's process has a reference, another one each time it begins anew.

  # So many messages of a partition are taken before others have their turn.
  @turn 5

  defstruct batches: %{}, places: %{}, counts: %{}, revoked: %{}, closed?: false

  @type t :: %__MODULE__{}

  @spec new() :: t
  def new, do: %__MODULE__{}

  @doc "What a handler (`Crema.Broadway.Handler`) or the acknowledger tells."
  @spec told(tuple, t) :: t
  def told({:begins, place, ref}, waiting) do
    {before, places} = Map.pop(waiting.places, place)
    waiting = if before, do: drop(before, waiting), else: waiting
    counts = Map.put(waiting.counts, ref, 0)
    %{waiting | places: Map.put(places, place, ref), counts: counts}
  end

  def told({:messages, _ref, _messages}, %{closed?: true} = waiting), do: waiting

  def told({:messages, ref, messages}, waiting) when is_map_key(waiting.counts, ref) do
    before = Map.get(waiting.batches, ref, :queue.new())
    put_in(waiting.batches[ref], :queue.in(messages, before))
  end

  # What has begun is finished, but no more is begun.
  def told({:revoked, ref, whom}, waiting) when is_map_key(waiting.counts, ref) do
    revoked = Map.put(waiting.revoked, ref, whom)
    idle(ref, %{without(ref, waiting) | revoked: revoked})
  end

  def told({:revoked, _ref, whom}, waiting), do: tell_idle(whom, waiting)
  def told({:lost, ref}, waiting), do: drop(ref, waiting)

  def told({:done, refs}, waiting) do
    Enum.reduce(refs, waiting, fn
      {ref, done}, %{counts: counts} = waiting when is_map_key(counts, ref) ->
        idle(ref, %{waiting | counts: Map.update!(counts, ref, &(&1 - done))})

      _gone, waiting ->
        waiting
    end)
  end

  def told(_of_one_that_has_gone, waiting), do: waiting

  @doc "Nothing is taken or kept any more."
  @spec close(t) :: t
  def close(waiting), do: %{waiting | batches: %{}, closed?: true}

  @doc """
  So many messages at most, each with the reference of its process; those of a process in order. The
  next come from the one that has the fewest in the pipeline: demand that is spent on one that is slow
  is not there for the stages of others.
  """
  @spec take(non_neg_integer, t) :: {[{reference, map}], t}
  def take(demand, waiting), do: take(demand, [], waiting)

  defp take(demand, taken, %{batches: batches} = waiting) when demand == 0 or batches == %{},
    do: {:lists.append(Enum.reverse(taken)), waiting}

  defp take(demand, taken, %{batches: batches, counts: counts} = waiting) do
    ref = batches |> Map.keys() |> Enum.min_by(&Map.fetch!(counts, &1))
    {now, batches} = next(ref, min(demand, @turn), batches)
    count = length(now)
    waiting = %{waiting | batches: batches, counts: Map.update!(counts, ref, &(&1 + count))}
    take(demand - count, [Enum.map(now, &{ref, &1}) | taken], waiting)
  end

  defp next(ref, most, batches) do
    {{:value, messages}, behind} = batches |> Map.fetch!(ref) |> :queue.out()
    {now, later} = Enum.split(messages, most)
    left = if later == [], do: behind, else: :queue.in_r(later, behind)
    {now, if(:queue.is_empty(left), do: Map.delete(batches, ref), else: %{batches | ref => left})}
  end

  defp drop(ref, waiting) do
    waiting = without(ref, waiting)
    places = for {place, at} <- waiting.places, at != ref, into: %{}, do: {place, at}
    counts = Map.delete(waiting.counts, ref)
    %{waiting | places: places, counts: counts, revoked: Map.delete(waiting.revoked, ref)}
  end

  defp without(ref, waiting), do: %{waiting | batches: Map.delete(waiting.batches, ref)}

  defp idle(ref, %{counts: counts, revoked: revoked} = waiting) do
    case {revoked, counts} do
      {%{^ref => whom}, %{^ref => 0}} -> tell_idle(whom, drop(ref, waiting))
      _ -> waiting
    end
  end

  defp tell_idle({pid, tag}, waiting) do
    send(pid, {tag, :idle})
    waiting
  end
end
