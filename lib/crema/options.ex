defmodule Crema.Options do
  @moduledoc false
  # The Erlang side takes maps and keyword lists alike, judges them and says what is wrong. Here
  # they are only put together.

  @type t :: keyword | %{optional(atom) => term}

  @doc "Adds an option that is not given."
  @spec put_new(t, atom, term) :: t
  def put_new(opts, key, value) when is_list(opts), do: Keyword.put_new(opts, key, value)
  def put_new(opts, key, value), do: Map.put_new(opts, key, value)

  @doc """
  Puts options over defaults. Those under `:kafka` are merged one by one, so that setting one
  property does not drop the others.
  """
  @spec merge(t, t) :: map
  def merge(defaults, opts) do
    Map.merge(Map.new(defaults), Map.new(opts), fn
      :kafka, default, given -> Map.merge(properties(default), properties(given))
      _option, _default, given -> given
    end)
  end

  # Names become strings, so that :"linger.ms" and "linger.ms" are one property.
  defp properties(properties),
    do: Map.new(properties, fn {key, value} -> {to_string(key), value} end)
end
