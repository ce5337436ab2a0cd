defmodule Crema.Options do
  @moduledoc false
  # The Erlang side takes maps and keyword lists alike, judges them and says what is wrong. Here
  # they are only put together.

  @type t :: keyword | %{optional(atom) => term}

  # What Supervisor.child_spec/2 changes, and no option of a client's.
  @of_child [:id, :restart, :shutdown]

  # What else is the default here than on the Erlang side, where messages come.
  @of_messages [null: nil, message: :struct]

  @doc "Adds what is another default in Elixir, for those that are given messages."
  @spec for_elixir(t) :: t
  def for_elixir(opts) when is_list(opts),
    do: Enum.reduce(@of_messages, opts, fn {key, value}, opts -> put_new(opts, key, value) end)

  def for_elixir(opts) when is_map(opts), do: Map.merge(Map.new(@of_messages), opts)
  # Wrong, as the Erlang side will say.
  def for_elixir(opts), do: opts

  # What else may be in the list is for the Erlang side to judge.
  defp put_new(opts, key, value),
    do: if(List.keymember?(opts, key, 0), do: opts, else: [{key, value} | opts])

  @doc """
  Puts options over defaults. Those under `:kafka` are merged one by one, so that setting one
  property does not drop the others. Of a repeated one the first counts.
  """
  @spec merge(t, t) :: map
  def merge(defaults, opts) do
    Map.merge(first(defaults), first(opts), fn
      :kafka, default, given -> Map.merge(properties(default), properties(given))
      _option, _default, given -> given
    end)
  end

  # Names become strings, so that :"linger.ms" and "linger.ms" are one property.
  defp properties(properties),
    do: for({key, value} <- first(properties), into: %{}, do: {to_string(key), value})

  defp first(pairs), do: pairs |> Enum.reverse() |> Map.new()

  @doc "The names of options that concern the child of a supervisor."
  @spec of_child() :: [atom]
  def of_child, do: @of_child

  @doc "A child specification by a function of the options, with what these say of the child."
  @spec child_spec(t, (t -> Supervisor.child_spec())) :: Supervisor.child_spec()
  def child_spec(opts, fun) do
    {of_child, opts} = split(opts)
    opts |> fun.() |> Supervisor.child_spec(of_child)
  end

  @doc "The options without what concerns the child of a supervisor."
  @spec drop_child(t) :: t
  def drop_child(opts), do: opts |> split() |> elem(1)

  defp split(opts) when is_map(opts) do
    {of_child, opts} = Map.split(opts, @of_child)
    {Map.to_list(of_child), opts}
  end

  defp split(opts) when is_list(opts) and length(opts) >= 0,
    do: Enum.split_with(opts, &match?({key, _value} when key in @of_child, &1))

  defp split(opts), do: {[], opts}
end
