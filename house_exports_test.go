package main_test

import (
	"go/ast"
	"go/token"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// calledByOthers are methods that the standard library or another module calls.
var calledByOthers = []string{
	"Error", "Unwrap", "Is", "String", "Set", "Read", "Write", "Close",
	"MarshalText", "UnmarshalText", "MarshalJSON", "UnmarshalJSON",
	"ServeHTTP", "RoundTrip", "Accept", "Addr", "NetConn",
	"Describe", "Collect",
	"Len", "Less", "Swap", "Push", "Pop",
	"Enabled", "Handle", "WithAttrs", "WithGroup", "LogValue",
}

// export is a type, or an exported name of a package's top level, or an exported method.
type export struct {
	at     token.Pos
	isType bool
	used   bool
	typ    string // of a constant
	// shows are the expressions through which others reach its types without naming them: parameters, results, exported fields.
	shows []ast.Expr
}

// exported maps folders to their exports by name; a method is Type.Name.
type exported map[string]map[string]*export

// exportedNames counts files of all build tags, and external tests, as users. It compares methods by name only. A type is used when a
// used name shows it, and a constant when its type is.
func exportedNames(tree []source, found report) {
	all := exported{}
	for _, s := range tree {
		if !s.test && s.file.Name.Name != "main" {
			all.declare(s)
		}
	}
	callers := map[string]map[string]bool{} // the packages that select a method, by its name
	for _, s := range tree {
		all.use(s, callers)
	}
	for dir, names := range all {
		for name, e := range names {
			if _, method, ok := strings.Cut(name, "."); ok && (slices.Contains(calledByOthers, method) || hasOther(callers[method], dir)) {
				e.use(names)
			}
		}
	}
	for _, dir := range slices.Sorted(maps.Keys(all)) {
		names := all[dir]
		for _, name := range slices.Sorted(maps.Keys(names)) {
			e := names[name]
			typeUsed := names[e.typ] != nil && names[e.typ].used
			if !e.used && !typeUsed && (ast.IsExported(name) || strings.Contains(name, ".")) {
				found(e.at, "no other package uses %s of %s", name, dir)
			}
		}
	}
}

func hasOther(packages map[string]bool, dir string) bool {
	return len(packages) > 1 || len(packages) == 1 && !packages[dir]
}

// declare adds the exports of a file.
func (all exported) declare(s source) {
	names := all[s.dir()]
	if names == nil {
		names = map[string]*export{}
		all[s.dir()] = names
	}
	for _, declaration := range s.file.Decls {
		switch d := declaration.(type) {
		case *ast.FuncDecl:
			name := d.Name.Name
			if !d.Name.IsExported() {
				continue
			}
			if d.Recv != nil {
				name = receiver(d) + "." + name
			}
			names[name] = &export{at: d.Name.Pos(), shows: []ast.Expr{d.Type}}
		case *ast.GenDecl:
			typ := "" // of a constant without a value: that of the one before
			for _, spec := range d.Specs {
				switch spec := spec.(type) {
				case *ast.TypeSpec:
					names[spec.Name.Name] = &export{at: spec.Pos(), isType: true, shows: shown(spec.Type)}
				case *ast.ValueSpec:
					e := value(spec)
					if d.Tok == token.VAR {
						e.typ = ""
					} else if spec.Type == nil && len(spec.Values) == 0 {
						e.typ = typ
					}
					typ = e.typ
					for _, name := range spec.Names {
						if e.at = name.Pos(); name.IsExported() {
							names[name.Name] = new(e)
						}
					}
				}
			}
		}
	}
}

// value describes constants or variables.
func value(spec *ast.ValueSpec) (e export) {
	if spec.Type != nil {
		return export{typ: nameOf(spec.Type), shows: []ast.Expr{spec.Type}}
	}
	for _, v := range spec.Values {
		switch v := v.(type) {
		case *ast.CompositeLit:
			e.shows = append(e.shows, v.Type)
		case *ast.CallExpr: // a conversion
			e.shows = append(e.shows, v.Fun)
			e.typ = nameOf(v.Fun)
		}
	}
	return e
}

func nameOf(expr ast.Expr) string {
	name, _ := expr.(*ast.Ident)
	if name == nil {
		return ""
	}
	return name.Name
}

// shown is what a type shows of others: all of it, but of a struct the exported and embedded fields.
func shown(expr ast.Expr) []ast.Expr {
	structure, ok := expr.(*ast.StructType)
	if !ok {
		return []ast.Expr{expr}
	}
	var types []ast.Expr
	for _, field := range structure.Fields.List {
		if len(field.Names) == 0 || slices.ContainsFunc(field.Names, (*ast.Ident).IsExported) {
			types = append(types, field.Type)
		}
	}
	return types
}

// use marks what a file uses of other packages, and notes the methods it selects or wants in an interface.
func (all exported) use(s source, callers map[string]map[string]bool) {
	user := s.dir()
	if strings.HasSuffix(s.file.Name.Name, "_test") {
		user += "_test"
	}
	call := func(method string) {
		if callers[method] == nil {
			callers[method] = map[string]bool{}
		}
		callers[method][user] = true
	}
	packages := map[string]string{} // by what the file calls them; "" is one of another module
	for _, spec := range s.file.Imports {
		path, _ := strconv.Unquote(spec.Path.Value)
		dir, _ := strings.CutPrefix(path, module+"/")
		if dir == path {
			dir = ""
		}
		packages[s.nameOf(path)] = dir
	}
	ast.Inspect(s.file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.SelectorExpr:
			x, _ := n.X.(*ast.Ident)
			if x == nil || x.Obj != nil {
				call(n.Sel.Name)
			} else if dir, isPackage := packages[x.Name]; !isPackage {
				call(n.Sel.Name)
			} else if e := all[dir][n.Sel.Name]; e != nil && dir != user {
				e.use(all[dir])
			}
		case *ast.InterfaceType:
			for _, method := range n.Methods.List {
				for _, name := range method.Names {
					call(name.Name)
				}
			}
		}
		return true
	})
}

// use marks an export, and the types of its package that it shows.
func (e *export) use(names map[string]*export) {
	if e.used {
		return
	}
	e.used = true
	for _, expr := range e.shows {
		ast.Inspect(expr, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.SelectorExpr:
				return false // a name of another package
			case *ast.Ident:
				if t := names[n.Name]; t != nil && t.isType {
					t.use(names)
				}
			}
			return true
		})
	}
}
